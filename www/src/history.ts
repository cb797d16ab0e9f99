/** The pictures that were shown, so that one can go back and forth between them. Plain data. */

import type { OpenImage } from "./state.ts";

export interface History {
  readonly images: readonly OpenImage[];
  /** The one that is shown; -1 when there is none yet. */
  readonly at: number;
}

/** A canvas of 2,048 x 2,048 takes 16 MB: older pictures are let go. */
const LIMIT = 20;

/** A picture was shown: what had been undone is gone. */
export function withImage({ images, at }: History, image: OpenImage): History {
  if (images[at] === image) return { images, at };
  const last = [...images.slice(0, at + 1), image].slice(-LIMIT);
  return { images: last, at: last.length - 1 };
}

/** One step back (-1) or forth (1); undefined where there is none. */
export function stepped({ images, at }: History, step: -1 | 1): History | undefined {
  return images[at + step] === undefined ? undefined : { images, at: at + step };
}
