/** A picture as the page shows it. */

import { context2d } from "./dom.ts";
import type { OpenImage } from "./state.ts";

/** Enough for any screen, and small enough for a phone. */
const LONGEST_SIDE = 2048;

/** Undefined when the browser cannot decode it. */
export async function openImageFromBlob(blob: Blob, name: string, sample: boolean): Promise<OpenImage | undefined> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch {
    return undefined;
  }
  const canvas = scaled(bitmap, Math.min(LONGEST_SIDE, Math.max(bitmap.width, bitmap.height)));
  bitmap.close();
  return { name, source: blob, canvas, sample };
}

/** A picture that the model made, of another one if it is an edit. */
export function openImageFromData(image: ImageData, name: string, from?: OpenImage): OpenImage {
  const whole = canvasFromImage(image);
  const longest = Math.max(whole.width, whole.height);
  const canvas = longest > LONGEST_SIDE ? scaled(whole, LONGEST_SIDE) : whole;
  return { name, source: image, canvas, sample: false, ...(from === undefined ? {} : { before: from.canvas }) };
}

/** A picture that the person put together. */
export function openImageFromCanvas(canvas: HTMLCanvasElement, name: string): OpenImage {
  const source = context2d(canvas).getImageData(0, 0, canvas.width, canvas.height);
  return { name, source, canvas, sample: false };
}

/** In all its pixels, upright. */
export async function wholeCanvas({ source, canvas }: OpenImage): Promise<HTMLCanvasElement> {
  if (!(source instanceof Blob)) return canvasFromImage(source);
  if (Math.max(canvas.width, canvas.height) < LONGEST_SIDE) return canvas;
  const bitmap = await createImageBitmap(source, { imageOrientation: "from-image" });
  const whole = scaled(bitmap, Math.max(bitmap.width, bitmap.height));
  bitmap.close();
  return whole;
}

export function canvasFromImage(image: ImageData): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  context2d(canvas).putImageData(image, 0, 0);
  return canvas;
}

/** A copy whose longer side has this many pixels. */
export function scaled(from: HTMLCanvasElement | ImageBitmap, longest: number): HTMLCanvasElement {
  const scale = longest / Math.max(from.width, from.height);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(from.width * scale));
  canvas.height = Math.max(1, Math.round(from.height * scale));
  const context = context2d(canvas);
  context.imageSmoothingQuality = "high";
  context.drawImage(from, 0, 0, canvas.width, canvas.height);
  return canvas;
}
