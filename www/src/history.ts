/** The pictures that were shown, so that one can go back and forth between them. Plain data. */

import type { OpenImage } from "./state.ts";

export interface History {
  readonly images: readonly OpenImage[];
  /** The one that is shown; -1 when there is none yet. */
  readonly at: number;
}

/** Older pictures are let go: an edited photo of 12 megapixels takes 60 MB. */
const MOST = 20;
const MOST_BYTES = 400e6;

/** A picture was shown: what had been undone is gone. */
export function withImage({ images, at }: History, image: OpenImage): History {
  if (images[at] === image) return { images, at };
  const last = [...images.slice(0, at + 1), image].slice(-MOST);
  const total = (): number => last.reduce((sum, each) => sum + bytesOf(each), 0);
  // The one before is kept in any case: what was done to it can be undone.
  while (last.length > 2 && total() > MOST_BYTES) last.shift();
  return { images: last, at: last.length - 1 };
}

function bytesOf({ source, canvas }: OpenImage): number {
  return ("data" in source ? source.data.length : source.size) + 4 * canvas.width * canvas.height;
}

/** One step back (-1) or forth (1); undefined where there is none. */
export function stepped({ images, at }: History, step: -1 | 1): History | undefined {
  return images[at + step] === undefined ? undefined : { images, at: at + step };
}
