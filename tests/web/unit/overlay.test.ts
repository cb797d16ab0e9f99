import { describe, expect, it } from "vitest";
import { drawOverlay, overlayPixels } from "../../../pkg/src/overlay.ts";
import { type Color, cssColor, palette, paletteColor } from "../../../pkg/src/palette.ts";
import { halves } from "../fake-wasm.ts";

const distance = (a: Color, b: Color): number => Math.hypot(a.r - b.r, a.g - b.g, a.b - b.b);

describe("the palette", () => {
  it("begins as that of the command line (src/image/palette.rs)", () => {
    expect(palette(4).map(({ r, g, b }) => [r, g, b])).toEqual([
      [113, 163, 255],
      [208, 83, 34],
      [20, 227, 194],
      [203, 128, 237],
    ]);
    expect(paletteColor(3)).toEqual(palette(4)[3]);
  });

  it("has sixteen colours that are far apart, and valid ones for ever", () => {
    const colors = palette(16);
    for (const [i, a] of colors.entries()) {
      for (const b of colors.slice(i + 1)) expect(distance(a, b)).toBeGreaterThan(24);
    }
    for (const { r, g, b } of palette(500)) {
      for (const channel of [r, g, b]) {
        expect(Number.isInteger(channel) && channel >= 0 && channel <= 255).toBe(true);
      }
    }
  });

  it("writes CSS", () => {
    expect(cssColor({ r: 1, g: 2, b: 3 })).toBe("rgb(1 2 3)");
    expect(cssColor({ r: 1, g: 2, b: 3 }, 0.5)).toBe("rgb(1 2 3 / 0.5)");
  });
});

describe("overlayPixels", () => {
  const color = (id: number): Color => ({ r: id === 0 ? 10 : 20, g: 0, b: 0 });
  const pixel = (pixels: Uint8ClampedArray, x: number, y: number): number[] => [
    ...pixels.subarray((y * 8 + x) * 4, (y * 8 + x) * 4 + 4),
  ];

  it("fills the regions and marks where they meet", () => {
    const pixels = overlayPixels(halves(), 8, 8, { opacity: 0.4, color });
    expect(pixel(pixels, 0, 0)).toEqual([10, 0, 0, 102]);
    expect(pixel(pixels, 3, 0)).toEqual([10, 0, 0, 217]);
    expect(pixel(pixels, 4, 0)).toEqual([20, 0, 0, 102]);
  });

  it("leaves out what the crop left out, and dims all but the highlight", () => {
    const tokens = { ...halves(), crop: { x: 4, y: 0, width: 4, height: 8 } };
    const pixels = overlayPixels(tokens, 8, 8, { opacity: 0.6, borders: false, highlight: 1, color });
    expect(pixel(pixels, 0, 0)).toEqual([0, 0, 0, 0]);
    expect(pixel(pixels, 4, 0)).toEqual([10, 0, 0, 51]);
    expect(pixel(pixels, 7, 0)).toEqual([20, 0, 0, 153]);
  });
});

describe("drawOverlay", () => {
  /** Notes what is called on a canvas, in words. */
  function recorder(): { context: CanvasRenderingContext2D; log: string[]; depth: () => number } {
    const log: string[] = [];
    let depth = 0;
    const target: Record<string, unknown> = { canvas: { width: 80, height: 80 } };
    const context = new Proxy(target, {
      get(object, name: string) {
        if (name in object) return object[name];
        return (...args: unknown[]) => {
          if (name === "save") depth += 1;
          if (name === "restore") depth -= 1;
          log.push(name === "fill" ? `fill ${object["fillStyle"]} ${args.join("")}`.trim() : name);
        };
      },
    });
    return { context: context as unknown as CanvasRenderingContext2D, log, depth: () => depth };
  }

  it("fills each token once and leaves the canvas as it found it", () => {
    const { context, log, depth } = recorder();
    drawOverlay(context, halves());
    expect(log.filter((call) => call.startsWith("fill"))).toEqual([
      `fill ${cssColor(paletteColor(0))}`,
      `fill ${cssColor(paletteColor(1))}`,
    ]);
    expect(log.filter((call) => call === "arcTo")).toHaveLength(8);
    expect(log.filter((call) => call === "stroke")).toHaveLength(2);
    expect(depth()).toBe(0);
  });

  it("dims the rest for a highlight", () => {
    const { context, log } = recorder();
    drawOverlay(context, halves(), { highlight: 1, borders: false });
    expect(log.filter((call) => call.startsWith("fill"))).toEqual([
      `fill ${cssColor(paletteColor(0))}`,
      "fill rgb(12 13 18) evenodd",
      `fill ${cssColor(paletteColor(1))}`,
    ]);
  });
});
