import { afterEach, describe, expect, it, vi } from "vitest";
import { imageFrom, type RequestImage, readImage, transferablesOf } from "../../../pkg/src/image.ts";
import type { ImageInput } from "../../../pkg/src/types.ts";

afterEach(() => vi.unstubAllGlobals());

function bytesOf(image: RequestImage): number[] {
  if (image.kind !== "encoded") throw new Error(image.kind);
  return [...image.bytes];
}

/** What Node lacks of a browser, by its tag only: that is what the package looks at. */
function tagged<T extends object>(tag: string, value: T): ImageInput {
  return Object.assign(value, { [Symbol.toStringTag]: tag }) as unknown as ImageInput;
}

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
