export type { Answering } from "./answering.js";
export type { CachedModel } from "./cache.js";
export { type BrowserErrorCode, type CoreErrorCode, SetokimError, type SetokimErrorCode } from "./errors.js";
// Helpers for pages that show tokens.
export {
  type Mask,
  maskToImageBitmap,
  maskToImageData,
  maskToRle,
  neighborsOf,
  type Outline,
  type Partition,
  patchAt,
  type Rle,
  rleToMask,
  tokenAt,
  tokenMask,
  tokenOutlines,
} from "./masks.js";
export { type DrawOptions, drawOverlay, type OverlayOptions, overlayPixels } from "./overlay.js";
export { type Color, cssColor, palette, paletteColor } from "./palette.js";
export { Setokim } from "./setokim.js";
export type * from "./tasks.js";
export type * from "./types.js";
