/** Any picture that a page can hold -> what the Rust side takes: encoded bytes, or RGBA pixels. */

import { SetokimError, throwIfAborted } from "./errors.js";
import { fetchUrl } from "./fetching.js";
import { imageSize } from "./image-size.js";
import { tagOf } from "./options.js";
import type { ImageInput } from "./types.js";

/** A picture on its way to the engine. Everything in it belongs to the package and may be transferred. */
export type RequestImage =
  /** A file that Rust decodes: where there is no browser to do it, or one that cannot. */
  | { kind: "encoded"; bytes: Uint8Array<ArrayBuffer> }
  /** [height, width, 4], rows without padding, alpha not premultiplied. */
  | { kind: "rgba"; rgba: Uint8Array<ArrayBuffer>; width: number; height: number }
  /** Pixels as the browser shows them: of a file, a canvas, an image element, a video frame. */
  | { kind: "bitmap"; bitmap: ImageBitmap };

/** The same once the browser has read its pixels. */
export type ReadImage = Exclude<RequestImage, { kind: "bitmap" }>;

/** As in Rust (`src/limits.rs`): above it, reading the pixels back would exhaust the tab. */
const MEGAPIXEL_LIMIT = 64;

/** As in Rust: a larger file is not even read. */
const BYTE_LIMIT = 128 << 20;

/** Pixels that are read back at one time. Browsers draw nothing on a canvas that is too large for them, and say nothing. */
const TILE = { width: 4096, height: 1024 };

const inputRemedy =
  "Pass an address, a Blob or File, an ImageBitmap, ImageData, canvas, image element, VideoFrame or encoded bytes.";

/**
 * Takes the picture as it is at the moment of the call: a canvas may be drawn on again right after.
 * `fetched` is told of each picture that is fetched over the network.
 */
export async function imageFrom(input: ImageInput, signal?: AbortSignal, fetched?: () => void): Promise<RequestImage> {
  throwIfAborted(signal);
  if (typeof input === "string") return imageFromUrl(input, signal, fetched);
  switch (tagOf(input)) {
    case "URL":
      return imageFromUrl(String(input), signal, fetched);
    case "Blob":
    case "File":
      return imageFromBlob(input as Blob, signal);
    case "ArrayBuffer":
      checkBytes((input as ArrayBuffer).byteLength);
      return imageFromBytes(new Uint8Array((input as ArrayBuffer).slice(0)), signal);
    case "Uint8Array":
      checkBytes((input as Uint8Array).byteLength);
      return imageFromBytes(Uint8Array.from(input as Uint8Array), signal);
    case "ImageData":
      return imageFromImageData(input as ImageData);
    case "HTMLImageElement":
      return imageFromElement(input as HTMLImageElement, signal);
    case "ImageBitmap":
    case "HTMLCanvasElement":
    case "OffscreenCanvas":
    case "VideoFrame":
      return imageFromBitmapSource(input as ImageBitmapSource);
    default:
      if (ArrayBuffer.isView(input)) {
        const view: ArrayBufferView = input; // a Buffer, a DataView: bytes all the same
        checkBytes(view.byteLength);
        return imageFromBytes(Uint8Array.from(new Uint8Array(view.buffer, view.byteOffset, view.byteLength)), signal);
      }
      throw new SetokimError("image-decode", `this is not a picture: ${describe(input)}`, { remedy: inputRemedy });
  }
}

/** What may be moved to the worker instead of copied. */
export function transferablesOf(image: RequestImage): Transferable[] {
  switch (image.kind) {
    case "encoded":
      return [image.bytes.buffer];
    case "rgba":
      return [image.rgba.buffer];
    case "bitmap":
      return [image.bitmap];
  }
}

/** Reads a bitmap's pixels (and closes it); other pictures pass. */
export function readImage(image: RequestImage): ReadImage {
  if (image.kind !== "bitmap") return image;
  const { bitmap } = image;
  const { width, height } = bitmap;
  try {
    checkSize(width, height);
    return { kind: "rgba", rgba: pixelsOf(bitmap), width, height };
  } finally {
    bitmap.close();
  }
}

/** [height, width, 4], read tile by tile. */
function pixelsOf(bitmap: ImageBitmap): Uint8Array<ArrayBuffer> {
  const { width, height } = bitmap;
  const rgba = new Uint8Array(4 * width * height);
  const canvas = new OffscreenCanvas(Math.min(width, TILE.width), Math.min(height, TILE.height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (context === null) throw new SetokimError("internal", "the browser gives no 2-D canvas");
  context.globalCompositeOperation = "copy"; // nothing of the tile before shows through
  for (let top = 0; top < height; top += TILE.height) {
    for (let left = 0; left < width; left += TILE.width) {
      const [columns, rows] = [Math.min(TILE.width, width - left), Math.min(TILE.height, height - top)];
      context.drawImage(bitmap, left, top, columns, rows, 0, 0, columns, rows);
      const { data } = context.getImageData(0, 0, columns, rows);
      for (let row = 0; row < rows; row += 1) {
        const line = data.subarray(4 * row * columns, 4 * (row + 1) * columns);
        rgba.set(line, 4 * ((top + row) * width + left));
      }
    }
  }
  return rgba;
}

/** `ImageData`, or the same by another name in Node. */
export function imageData(rgba: Uint8Array, width: number, height: number): ImageData {
  const data = Uint8ClampedArray.from(rgba);
  if (typeof ImageData === "function") return new ImageData(data, width, height);
  return { data, width, height, colorSpace: "srgb", [Symbol.toStringTag]: "ImageData" } as unknown as ImageData;
}

async function imageFromUrl(url: string, signal?: AbortSignal, fetched?: () => void): Promise<RequestImage> {
  // A page's content policy seldom lets `fetch` read data: URLs, and they need no network.
  if (/^data:/i.test(url)) return imageFromBytes(bytesFromDataUrl(url), signal);
  if (!/^blob:/i.test(url)) fetched?.();
  let response: Response;
  try {
    response = await fetchUrl(url, signal === undefined ? {} : { signal });
  } catch (error) {
    throwIfAborted(signal);
    throw new SetokimError("network", `the picture at ${url} cannot be fetched`, {
      remedy: "Check the address; a picture from another site needs that site's permission (CORS).",
      cause: error,
    });
  }
  if (!response.ok) {
    throw new SetokimError(
      "network",
      `the picture at ${url} cannot be fetched: the server answers ${response.status}`,
      {
        remedy: "Check the address of the picture.",
      },
    );
  }
  checkBytes(Number(response.headers.get("content-length")));
  let body: Blob;
  try {
    body = await response.blob();
  } catch (error) {
    throwIfAborted(signal);
    throw new SetokimError("network", `the picture at ${url} was cut off`, { cause: error });
  }
  return imageFromBlob(body, signal);
}

async function imageFromBlob(source: Blob, signal?: AbortSignal): Promise<RequestImage> {
  checkBytes(source.size);
  let buffer: ArrayBuffer;
  try {
    buffer = await source.arrayBuffer();
  } catch (error) {
    throwIfAborted(signal);
    throw new SetokimError("io", "the file of the picture cannot be read", { cause: error });
  }
  throwIfAborted(signal);
  return imageFromBytes(new Uint8Array(buffer), signal);
}

/**
 * Decoded by the browser, so that the model sees what the person sees: the same formats, orientation and colours. What it
 * cannot decode is left to Rust, which has words for what is wrong with a file.
 */
async function imageFromBytes(bytes: Uint8Array<ArrayBuffer>, signal: AbortSignal | undefined): Promise<RequestImage> {
  const size = imageSize(bytes);
  if (size !== undefined) checkSize(size.width, size.height);
  if (!readsTruly()) return { kind: "encoded", bytes };
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes]), { imageOrientation: "from-image" });
  } catch {
    throwIfAborted(signal);
    return { kind: "encoded", bytes };
  }
  if (signal?.aborted === true) bitmap.close();
  throwIfAborted(signal);
  return { kind: "bitmap", bitmap };
}

/** Whether there is a canvas here that gives back what was put on it: browsers that hide from trackers give noise. */
function readsTruly(): boolean {
  if (typeof createImageBitmap !== "function" || typeof OffscreenCanvas !== "function") return false;
  const context = new OffscreenCanvas(2, 2).getContext("2d", { willReadFrequently: true });
  if (context === null) return false;
  const pixels = Uint8ClampedArray.of(1, 60, 120, 255, 180, 240, 5, 255, 70, 0, 99, 255, 255, 128, 33, 255);
  context.putImageData(new ImageData(pixels, 2, 2), 0, 0);
  const { data } = context.getImageData(0, 0, 2, 2);
  return pixels.every((value, at) => value === data[at]);
}

function imageFromImageData(image: ImageData): RequestImage | Promise<RequestImage> {
  const { data, width, height } = image;
  // Half-float and wide-gamut pixels go through the browser's own conversion to 8-bit sRGB.
  if (!(data instanceof Uint8ClampedArray) || (image.colorSpace ?? "srgb") !== "srgb") {
    return imageFromBitmapSource(image);
  }
  checkSize(width, height);
  return { kind: "rgba", rgba: Uint8Array.from(data), width, height };
}

async function imageFromElement(element: HTMLImageElement, signal?: AbortSignal): Promise<RequestImage> {
  try {
    await element.decode();
  } catch (error) {
    throw new SetokimError("image-decode", "the image element has no picture that can be shown", { cause: error });
  }
  throwIfAborted(signal);
  return imageFromBitmapSource(element);
}

async function imageFromBitmapSource(source: ImageBitmapSource): Promise<RequestImage> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(source);
  } catch (error) {
    const blocked = error instanceof DOMException && error.name === "SecurityError";
    throw blocked
      ? new SetokimError("image-decode", "the browser hands out no pixels of a picture from another site", {
          remedy: "Serve it with CORS headers and load it with crossorigin=anonymous.",
          cause: error,
        })
      : new SetokimError("image-decode", "the picture is empty, closed or cannot be read", { cause: error });
  }
  return { kind: "bitmap", bitmap };
}

function checkBytes(bytes: number): void {
  if (bytes > BYTE_LIMIT) {
    throw new SetokimError(
      "image-too-large",
      `the picture's file has ${bytes} bytes, more than the limit of ${BYTE_LIMIT >> 20} MiB`,
    );
  }
}

function checkSize(width: number, height: number): void {
  if (width * height > MEGAPIXEL_LIMIT * 1e6) {
    throw new SetokimError(
      "image-too-large",
      `the picture has ${width} x ${height} pixels, more than the limit of ${MEGAPIXEL_LIMIT} megapixels`,
    );
  }
}

function bytesFromDataUrl(url: string): Uint8Array<ArrayBuffer> {
  const comma = url.indexOf(",");
  try {
    if (comma < 0) throw new Error("no comma");
    const body = decodeURIComponent(url.slice(comma + 1));
    const binary = /;base64\s*$/i.test(url.slice(0, comma)) ? atob(body) : body;
    return Uint8Array.from(binary, (character) => character.charCodeAt(0));
  } catch (error) {
    throw new SetokimError("image-decode", "the data: URL is not valid", { cause: error });
  }
}

function describe(value: unknown): string {
  return value === null || value === undefined ? String(value) : `${typeof value} (${tagOf(value)})`;
}
