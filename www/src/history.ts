/** The pictures that were shown, so that one can go back and forth between them. Plain data. */

import type { OpenPicture } from "./state.ts";

export interface History {
  readonly pictures: readonly OpenPicture[];
  /** The one that is shown; -1 when there is none yet. */
  readonly at: number;
}

/** A canvas of 2,048 x 2,048 takes 16 MB: older pictures are let go. */
const LIMIT = 20;

/** A picture was shown: what had been undone is gone. */
export function withPicture({ pictures, at }: History, picture: OpenPicture): History {
  if (pictures[at] === picture) return { pictures, at };
  const kept = [...pictures.slice(0, at + 1), picture].slice(-LIMIT);
  return { pictures: kept, at: kept.length - 1 };
}

/** One step back (-1) or forth (1); undefined where there is none. */
export function stepped({ pictures, at }: History, step: -1 | 1): History | undefined {
  return pictures[at + step] === undefined ? undefined : { pictures, at: at + step };
}
