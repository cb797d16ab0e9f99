import { readFileSync } from "node:fs";
import { afterEach, describe, expect, it, vi } from "vitest";
import { imageFrom, type RequestImage, readImage, transferablesOf } from "../../../pkg/src/image.ts";
import { imageSize } from "../../../pkg/src/image-size.ts";
import type { ImageInput } from "../../../pkg/src/types.ts";
import { FakeImageData } from "../fake-worker.ts";

afterEach(() => vi.unstubAllGlobals());

function bytesOf(image: RequestImage): number[] {
  if (image.kind !== "encoded") throw new Error(image.kind);
  return [...image.bytes];
}

/** What Node lacks of a browser, by its tag only: that is what the package looks at. */
function tagged<T extends object>(tag: string, value: T): ImageInput {
  return Object.assign(value, { [Symbol.toStringTag]: tag }) as unknown as ImageInput;
}

/** A picture whose every pixel tells where it is. */
function pixelAt(x: number, y: number): number[] {
  return [x & 255, x >> 8, y & 255, y >> 8];
}

/** A canvas that shows it, and notes what was drawn. */
class TiledCanvas {
  getContext(): unknown {
    let [left, top] = [0, 0];
    return {
      drawImage: (bitmap: { tiles: number[][] }, x: number, y: number, columns: number, rows: number) => {
        [left, top] = [x, y];
        bitmap.tiles.push([x, y, columns, rows]);
      },
      getImageData: (_: number, __: number, columns: number, rows: number) => ({
        data: Uint8ClampedArray.from({ length: 4 * columns * rows }, (_value, at) => {
          const pixel = at >> 2;
          return pixelAt(left + (pixel % columns), top + Math.floor(pixel / columns))[at & 3] ?? 0;
        }),
      }),
    };
  }
}

/** A browser with a decoder; `read` is what its canvas gives back for what was put on it. */
function stubBrowser(read: (pixels: Uint8ClampedArray) => Uint8ClampedArray, bitmap?: object): void {
  vi.stubGlobal("ImageData", FakeImageData);
  vi.stubGlobal(
    "OffscreenCanvas",
    class {
      getContext(): unknown {
        let put: Uint8ClampedArray = new Uint8ClampedArray();
        return {
          putImageData: ({ data }: FakeImageData) => (put = data),
          getImageData: () => ({ data: read(put) }),
        };
      }
    },
  );
  vi.stubGlobal("createImageBitmap", async () => {
    if (bitmap === undefined) throw new DOMException("no picture", "InvalidStateError");
    return bitmap;
  });
}

describe("a file in a browser", () => {
  const bitmap = { width: 1, height: 1, close: vi.fn() };

  it("is decoded by the browser, so that person and model see the same", async () => {
    stubBrowser((pixels) => pixels, bitmap);
    for (const input of [Uint8Array.of(1), new Blob([Uint8Array.of(1)]), "data:,A"]) {
      expect(await imageFrom(input)).toEqual({ kind: "bitmap", bitmap });
    }
  });

  it("is left to Rust where the browser cannot decode it, or hides what its canvas holds", async () => {
    stubBrowser((pixels) => pixels);
    expect(bytesOf(await imageFrom(Uint8Array.of(1)))).toEqual([1]);
    stubBrowser((pixels) => pixels.map((value) => value ^ 1), bitmap);
    expect(bytesOf(await imageFrom(Uint8Array.of(1)))).toEqual([1]);
  });

  it("that was aborted while it was decoded is closed", async () => {
    stubBrowser((pixels) => pixels, bitmap);
    const abort = new AbortController();
    const reading = imageFrom(Uint8Array.of(1), abort.signal);
    abort.abort();
    await expect(reading).rejects.toMatchObject({ code: "aborted" });
    expect(bitmap.close).toHaveBeenCalledOnce();
  });

  it("that is too large by its own words does not reach the browser's decoder", async () => {
    stubBrowser((pixels) => pixels, bitmap);
    const huge = readFileSync(new URL("../../fixtures/pictures/huge.png", import.meta.url));
    await expect(imageFrom(huge)).rejects.toMatchObject({ code: "image-too-large" });
  });
});

describe("imageSize", () => {
  const sizeOf = (name: string): unknown =>
    imageSize(readFileSync(new URL(`../../fixtures/pictures/${name}`, import.meta.url)));

  it("reads the header of every format", () => {
    for (const name of ["gray.jpg", "progressive.jpg", "cmyk.jpg", "palette.png", "lossy.webp", "lossless.webp"]) {
      expect(sizeOf(name), name).toEqual({ width: 24, height: 16 });
    }
    expect(sizeOf("orientation-6.jpg")).toEqual({ width: 16, height: 24 }); // as it is stored
    expect(sizeOf("two-frames.gif")).toEqual({ width: 24, height: 16 });
    expect(sizeOf("alpha.webp")).toEqual({ width: 5, height: 1 });
    const bmp = new DataView(new ArrayBuffer(54));
    bmp.setUint16(0, 0x424d);
    bmp.setInt32(18, 30, true);
    bmp.setInt32(22, -20, true);
    expect(imageSize(new Uint8Array(bmp.buffer))).toEqual({ width: 30, height: 20 });
    const avif = new DataView(new ArrayBuffer(96));
    avif.setUint32(4, 0x66747970);
    for (const [at, side] of [
      [20, 64],
      [50, 900],
    ] as const) {
      avif.setUint32(at, 0x69737065);
      avif.setUint32(at + 8, side);
      avif.setUint32(at + 12, side);
    }
    expect(imageSize(new Uint8Array(avif.buffer))).toEqual({ width: 900, height: 900 });
  });

  it("has an end for whatever bytes there are", () => {
    for (const name of ["gray.jpg", "palette.png", "lossy.webp", "clear.gif"]) {
      const whole = readFileSync(new URL(`../../fixtures/pictures/${name}`, import.meta.url));
      for (let length = 0; length < 40; length += 1) imageSize(whole.subarray(0, length));
    }
    expect(imageSize(Uint8Array.of(0xff, 0xd8))).toBeUndefined();
    expect(imageSize(new Uint8Array(1000).fill(0xff).fill(0xd8, 1, 2))).toBeUndefined();
    expect(imageSize(new Uint8Array(0))).toBeUndefined();
  });
});

describe("imageFrom", () => {
  it("copies bytes, so that the caller keeps its own", async () => {
    const bytes = Uint8Array.of(1, 2, 3, 4).subarray(1, 3);
    const image = await imageFrom(bytes);
    expect(bytesOf(image)).toEqual([2, 3]);
    bytes[0] = 9;
    expect(bytesOf(image)).toEqual([2, 3]);
    expect(transferablesOf(image)[0]).not.toBe(bytes.buffer);
    expect(bytesOf(await imageFrom(Uint8Array.of(5, 6).buffer))).toEqual([5, 6]);
    expect(bytesOf(await imageFrom(Buffer.from([7, 8])))).toEqual([7, 8]);
  });

  it("reads a Blob and a File", async () => {
    expect(bytesOf(await imageFrom(new Blob([Uint8Array.of(1, 2)])))).toEqual([1, 2]);
    expect(bytesOf(await imageFrom(new File([Uint8Array.of(3)], "a.png")))).toEqual([3]);
  });

  it("reads data: URLs without fetching them", async () => {
    const fetch = vi.fn();
    vi.stubGlobal("fetch", fetch);
    expect(bytesOf(await imageFrom("data:image/png;base64,AQID"))).toEqual([1, 2, 3]);
    expect(bytesOf(await imageFrom("data:,AB"))).toEqual([65, 66]);
    expect(fetch).not.toHaveBeenCalled();
    await expect(imageFrom("data:image/png;base64,***")).rejects.toMatchObject({ code: "image-decode" });
  });

  it("fetches an address and says that it did", async () => {
    vi.stubGlobal("fetch", async () => new Response(Uint8Array.of(9)));
    const fetched = vi.fn();
    expect(bytesOf(await imageFrom(new URL("https://example.org/a.png"), undefined, fetched))).toEqual([9]);
    expect(fetched).toHaveBeenCalledOnce();
  });

  it("turns a failed fetch into a network error", async () => {
    vi.stubGlobal("fetch", async () => new Response("", { status: 404 }));
    await expect(imageFrom("https://example.org/a.png")).rejects.toMatchObject({
      code: "network",
      message: expect.stringContaining("404"),
    });
    vi.stubGlobal("fetch", async () => {
      throw new TypeError("Failed to fetch");
    });
    await expect(imageFrom("https://example.org/a.png")).rejects.toMatchObject({ code: "network" });
  });

  it("copies the pixels of ImageData", async () => {
    const data = Uint8ClampedArray.of(1, 2, 3, 4);
    const image = await imageFrom(tagged("ImageData", { data, width: 1, height: 1, colorSpace: "srgb" }));
    data[0] = 99;
    expect(image).toEqual({ kind: "rgba", rgba: Uint8Array.of(1, 2, 3, 4), width: 1, height: 1 });
  });

  it("refuses ImageData that is too large before it copies it", async () => {
    const huge = tagged("ImageData", { data: new Uint8ClampedArray(4), width: 30_000, height: 30_000 });
    await expect(imageFrom(huge)).rejects.toMatchObject({ code: "image-too-large" });
  });

  it("takes a snapshot of a canvas at the moment of the call", async () => {
    const bitmap = { width: 1, height: 1, close: vi.fn() };
    const createImageBitmap = vi.fn(async () => bitmap);
    vi.stubGlobal("createImageBitmap", createImageBitmap);
    const canvas = tagged("HTMLCanvasElement", {});
    const promise = imageFrom(canvas);
    expect(createImageBitmap).toHaveBeenCalledWith(canvas);
    const image = await promise;
    expect(image).toEqual({ kind: "bitmap", bitmap });
    expect(transferablesOf(image)).toEqual([bitmap]);
  });

  it("gives typed errors for what is no picture", async () => {
    for (const wrong of [undefined, null, 42, {}, [1, 2]]) {
      await expect(imageFrom(wrong as unknown as ImageInput)).rejects.toMatchObject({ code: "image-decode" });
    }
    vi.stubGlobal("createImageBitmap", async () => {
      throw new DOMException("empty", "InvalidStateError");
    });
    await expect(imageFrom(tagged("OffscreenCanvas", {}))).rejects.toMatchObject({ code: "image-decode" });
    vi.stubGlobal("createImageBitmap", async () => {
      throw new DOMException("tainted", "SecurityError");
    });
    await expect(imageFrom(tagged("HTMLCanvasElement", {}))).rejects.toMatchObject({
      remedy: expect.stringContaining("CORS"),
    });
  });

  it("stops when the signal says so", async () => {
    await expect(imageFrom(Uint8Array.of(1), AbortSignal.abort())).rejects.toMatchObject({ code: "aborted" });
  });
});

describe("readImage", () => {
  it("reads a bitmap tile by tile: a canvas as large as the picture may be more than the browser has", () => {
    vi.stubGlobal("OffscreenCanvas", TiledCanvas);
    const shapes: [width: number, height: number, tiles: number[][]][] = [
      [
        4100,
        3,
        [
          [0, 0, 4096, 3],
          [4096, 0, 4, 3],
        ],
      ],
      [
        3,
        1030,
        [
          [0, 0, 3, 1024],
          [0, 1024, 3, 6],
        ],
      ],
    ];
    for (const [width, height, wanted] of shapes) {
      const tiles: number[][] = [];
      const bitmap = { width, height, close: () => undefined, tiles };
      const read = readImage({ kind: "bitmap", bitmap });
      if (read.kind !== "rgba") throw new Error(read.kind);
      expect(tiles).toEqual(wanted);
      const all = Array.from({ length: width * height }, (_, at) => pixelAt(at % width, Math.floor(at / width)));
      expect(Buffer.from(read.rgba).equals(Buffer.from(all.flat()))).toBe(true);
    }
  });

  it("reads a bitmap's pixels and closes it, also when it is too large", () => {
    const pixels = Uint8ClampedArray.of(1, 2, 3, 255);
    vi.stubGlobal(
      "OffscreenCanvas",
      class {
        getContext(): unknown {
          return { drawImage: () => undefined, getImageData: () => ({ data: pixels }) };
        }
      },
    );
    const close = vi.fn();
    const bitmap = { width: 1, height: 1, close };
    expect(readImage({ kind: "bitmap", bitmap })).toEqual({
      kind: "rgba",
      rgba: Uint8Array.of(1, 2, 3, 255),
      width: 1,
      height: 1,
    });
    expect(() => readImage({ kind: "bitmap", bitmap: { ...bitmap, width: 1e5, height: 1e4 } })).toThrow("megapixels");
    expect(close).toHaveBeenCalledTimes(2);
  });
});
