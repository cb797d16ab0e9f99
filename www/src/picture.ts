/** A file as the page shows it. */

import { context2d } from "./dom.ts";
import type { OpenPicture } from "./state.ts";

/** Enough for any screen, and small enough for a phone. */
const LONGEST_SIDE = 2048;

/** Undefined when the browser cannot decode it. */
export async function pictureFromBlob(blob: Blob, name: string, sample: boolean): Promise<OpenPicture | undefined> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch {
    return undefined;
  }
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = context2d(canvas);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return { name, blob, canvas, sample };
}
