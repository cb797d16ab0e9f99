/**
 * What the person sees and what the model sees are the same pixels: a file that is given to the library, and the same file in
 * an image element, come out the same, for every format and orientation.
 */

import { readFileSync } from "node:fs";
import { crc32 } from "node:zlib";
import { expect, type Page } from "@playwright/test";
import type * as Package from "setokim";
import sharp from "sharp";
import { fixtureBytes, test } from "./helpers.ts";

declare const lib: typeof Package;

const beach = readFileSync(new URL("../../models/samples/beach.png", import.meta.url));
/** Not square, and with no symmetry: a turned or mirrored one is another. */
const picture = (): sharp.Sharp => sharp(beach).extract({ left: 0, top: 10, width: 120, height: 80 });

/** `picture` as an uncompressed BMP, which has its rows from below. */
async function bmp(): Promise<Buffer> {
  const { data, info } = await picture().removeAlpha().raw().toBuffer({ resolveWithObject: true });
  const stride = info.width * 3;
  const head = Buffer.alloc(54);
  head.write("BM");
  head.writeUInt32LE(54 + stride * info.height, 2);
  head.writeUInt32LE(54, 10);
  head.writeUInt32LE(40, 14);
  head.writeInt32LE(info.width, 18);
  head.writeInt32LE(info.height, 22);
  head.writeUInt16LE(1, 26);
  head.writeUInt16LE(24, 28);
  const rows = Array.from({ length: info.height }, (_, row) => {
    const line = data.subarray((info.height - 1 - row) * stride, (info.height - row) * stride);
    return Buffer.from(Array.from({ length: stride }, (_value, at) => line[at - (at % 3) + 2 - (at % 3)] ?? 0));
  });
  return Buffer.concat([head, ...rows]);
}

/** A PNG with a gamma of 1, which browsers brighten. */
async function gammaPng(): Promise<Buffer> {
  const png = await picture().png().toBuffer();
  const chunk = Buffer.alloc(16);
  chunk.writeUInt32BE(4);
  chunk.write("gAMA", 4);
  chunk.writeUInt32BE(100_000, 8);
  chunk.writeUInt32BE(crc32(chunk.subarray(4, 12)), 12);
  return Buffer.concat([png.subarray(0, 33), chunk, png.subarray(33)]);
}

async function pictures(): Promise<Record<string, Buffer>> {
  const made: Record<string, Buffer> = { "a.bmp": await bmp(), "gamma.png": await gammaPng() };
  for (const format of ["jpeg", "png", "webp", "avif"] as const) {
    for (let orientation = 1; orientation <= 8; orientation += 1) {
      made[`${orientation}.${format}`] = await picture().withMetadata({ orientation }).toFormat(format).toBuffer();
    }
    made[`p3.${format}`] = await picture().withIccProfile("p3").toFormat(format).toBuffer();
  }
  made["a.gif"] = await picture().gif().toBuffer();
  made["cmyk.jpg"] = fixtureBytes("cmyk.jpg");
  made["gray16.png"] = await picture().toColourspace("grey16").png().toBuffer();
  made["progressive.jpg"] = await picture().jpeg({ progressive: true, chromaSubsampling: "4:2:0" }).toBuffer();
  made["alpha.webp"] = await picture().ensureAlpha(0.5).webp({ lossless: true }).toBuffer();
  return made;
}

async function openLab(page: Page): Promise<void> {
  await page.goto("lab.html");
  await page.waitForFunction(() => "lib" in globalThis);
}

test("a file and its picture on the page are the same to the model", async ({ page }) => {
  await openLab(page);
  const files = Object.entries(await pictures()).map(([name, bytes]) => [name, bytes.toString("base64")] as const);
  const { sizes, differing } = await page.evaluate(async (all) => {
    const setokim = await lib.Setokim.load("/fixtures/tiny-setokim/", { device: "cpu", cache: false });
    const sizes: Record<string, string> = {};
    const differing: string[] = [];
    const seen = async (input: Package.ImageInput): Promise<string> => {
      const { image, tokens } = await setokim.reconstruct(input);
      return `${tokens.image.width}x${tokens.image.height} ${tokens.labels.join()} ${image.data.join()}`;
    };
    for (const [name, base64] of all) {
      const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      const element = new Image();
      element.src = URL.createObjectURL(new Blob([bytes]));
      await element.decode();
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [element.naturalWidth, element.naturalHeight];
      canvas.getContext("2d")?.drawImage(element, 0, 0);
      const shown = await seen(canvas);
      sizes[name] = shown.slice(0, shown.indexOf(" "));
      for (const input of [bytes, new Blob([bytes])]) if ((await seen(input)) !== shown) differing.push(name);
    }
    await setokim.dispose();
    return { sizes, differing };
  }, files);
  expect(differing).toEqual([]);
  expect(Object.keys(sizes)).toHaveLength(files.length);
  // What Chrome does with each tag; were it ignored for all, the rest would prove nothing.
  expect([sizes["1.jpeg"], sizes["6.jpeg"], sizes["6.png"]]).toEqual(["120x80", "80x120", "80x120"]);
});

test("the largest pictures are read whole", async ({ page }) => {
  await openLab(page);
  const sizes = await page.evaluate(async () => {
    const setokim = await lib.Setokim.load("/fixtures/tiny-setokim/", { device: "cpu", cache: false });
    const found: string[] = [];
    const seen = async (width: number, height: number, color: string): Promise<string> => {
      const tile = new OffscreenCanvas(Math.min(width, 4000), Math.min(height, 4000));
      const context = tile.getContext("2d");
      if (context === null) throw new Error("no context");
      context.fillStyle = color;
      context.fillRect(0, 0, tile.width, tile.height);
      const bitmap = await createImageBitmap(tile, { resizeWidth: width, resizeHeight: height });
      const { image, tokens } = await setokim.reconstruct(bitmap);
      return `${tokens.image.width}x${tokens.image.height} ${image.data.subarray(0, 4000).join()}`;
    };
    for (const [width, height] of [
      [65_000, 1],
      [1, 65_000],
      [8000, 8000],
    ] as const) {
      // A canvas that the browser found too large would be black, whatever was drawn.
      const [red, blue] = [await seen(width, height, "#f00"), await seen(width, height, "#00f")];
      found.push(`${red.split(" ")[0]} ${red !== blue}`);
    }
    await setokim.dispose();
    return found;
  });
  expect(sizes).toEqual(["65000x1 true", "1x65000 true", "8000x8000 true"]);
});

test("what nobody can read is refused in words, and what is too large before it is decoded", async ({ page }) => {
  await openLab(page);
  const heic = Buffer.alloc(64);
  heic.writeUInt32BE(24);
  heic.write("ftypheic", 4);
  const png = await picture().png().toBuffer();
  const huge = Buffer.from(png);
  huge.writeUInt32BE(20_000, 16);
  huge.writeUInt32BE(20_000, 20);
  const files = {
    heic,
    svg: Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>`),
    words: Buffer.from("Dear model, this is a letter."),
    nothing: Buffer.alloc(0),
    cut: png.subarray(0, png.byteLength >> 1),
    huge,
  };
  const codes = await page.evaluate(
    async (all) => {
      const setokim = await lib.Setokim.load("/fixtures/tiny-setokim/", { device: "cpu", cache: false });
      const found: Record<string, string> = {};
      for (const [name, base64] of all) {
        const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
        found[name] = await setokim.tokenize(bytes).then(
          () => "read",
          (error: unknown) => (error instanceof lib.SetokimError && error.remedy !== "" ? error.code : String(error)),
        );
      }
      await setokim.dispose();
      return found;
    },
    Object.entries(files).map(([name, bytes]) => [name, bytes.toString("base64")] as const),
  );
  expect(codes).toEqual({
    heic: "image-decode",
    svg: "image-decode",
    words: "image-decode",
    nothing: "image-decode",
    cut: "image-decode",
    huge: "image-too-large",
  });
});
