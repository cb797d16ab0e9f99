export { Setokim } from "./setokim.js";
export { SetokimError, type BrowserErrorCode, type CoreErrorCode, type SetokimErrorCode } from "./errors.js";
export type { CachedModel } from "./cache.js";
export type { Answering } from "./answering.js";
export type * from "./tasks.js";
export type * from "./types.js";

// Helpers for pages that show tokens.
export {
  maskToImageBitmap,
  maskToImageData,
  maskToRle,
  neighborsOf,
  patchAt,
  rleToMask,
  tokenAt,
  tokenMask,
  tokenOutlines,
  type Mask,
  type Outline,
  type Partition,
  type Rle,
} from "./masks.js";
export { drawOverlay, overlayPixels, type DrawOptions, type OverlayOptions } from "./overlay.js";
export { cssColor, palette, paletteColor, type Color } from "./palette.js";
