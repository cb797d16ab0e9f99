/** How large a picture says that it is, from its first bytes: what is too large must not reach the browser's decoder. */

interface Size {
  width: number;
  height: number;
}

/** Undefined where the format is another one, or the file is damaged: then a decoder says what is wrong. */
export function imageSize(bytes: Uint8Array): Size | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (at: number, length: number): string => String.fromCharCode(...bytes.subarray(at, at + length));
  try {
    if (text(1, 3) === "PNG") return pngSize(view, text);
    if (text(0, 3) === "GIF") return { width: view.getUint16(6, true), height: view.getUint16(8, true) };
    if (text(0, 2) === "BM") {
      return { width: Math.abs(view.getInt32(18, true)), height: Math.abs(view.getInt32(22, true)) };
    }
    if (text(0, 4) === "RIFF" && text(8, 4) === "WEBP") return webpSize(view, text(12, 4));
    if (text(4, 4) === "ftyp") return boxedSize(bytes, view);
    if (view.getUint16(0) === 0xffd8) return jpegSize(view);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // it ends before its size
  }
  return undefined;
}

/** Apple's own form of PNG has a chunk before the header. */
function pngSize(view: DataView, text: (at: number, length: number) => string): Size {
  const at = text(12, 4) === "CgBI" ? 32 : 16;
  return { width: view.getUint32(at), height: view.getUint32(at + 4) };
}

function webpSize(view: DataView, kind: string): Size | undefined {
  const wide = (at: number): number => 1 + view.getUint16(at, true) + (view.getUint8(at + 2) << 16);
  if (kind === "VP8X") return { width: wide(24), height: wide(27) };
  if (kind === "VP8 ") return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
  if (kind !== "VP8L") return undefined;
  const bits = view.getUint32(21, true);
  return { width: 1 + (bits & 0x3fff), height: 1 + ((bits >>> 14) & 0x3fff) };
}

/** AVIF and HEIC: the largest of the sizes in it is that of the whole, the others of its tiles and its thumbnail. */
function boxedSize(bytes: Uint8Array, view: DataView): Size | undefined {
  let largest: Size | undefined;
  const end = Math.min(bytes.length, 1 << 16) - 16;
  for (let at = 0; at < end; at += 1) {
    if (view.getUint32(at) !== 0x69737065) continue; // "ispe"
    const size = { width: view.getUint32(at + 8), height: view.getUint32(at + 12) };
    if (largest === undefined || size.width * size.height > largest.width * largest.height) largest = size;
  }
  return largest;
}

/** Steps from marker to marker to the one that has the size. */
function jpegSize(view: DataView): Size {
  for (let at = 2; ; ) {
    const marker = view.getUint16(at);
    const isFrame = marker >= 0xffc0 && marker <= 0xffcf && ![0xffc4, 0xffc8, 0xffcc].includes(marker);
    if (isFrame) return { width: view.getUint16(at + 7), height: view.getUint16(at + 5) };
    // Filling bytes, and what stands between segments, are stepped over one by one.
    at += marker > 0xffc0 && marker < 0xffff && marker !== 0xffd8 ? 2 + view.getUint16(at + 2) : 1;
  }
}
