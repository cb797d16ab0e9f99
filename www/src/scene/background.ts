/** The background of a scene as pixels: shaded bands with a smooth grain, by the rules of `training/data/scenes.py`. */

import { type Background, type Rgb, sheet } from "./sheet.ts";

/** RGBA [side, side, 4]. */
export function backgroundPixels(
  background: Background,
  texture: number,
  side: number,
): Uint8ClampedArray<ArrayBuffer> {
  const pixels = new Uint8ClampedArray(side * side * 4);
  const grain = grainOf(texture, side);
  for (let y = 0; y < side; y += 1) {
    const color = rowColor(background, y, side);
    for (let x = 0; x < side; x += 1) {
      const light = 1 + sheet.texture_strength * (grain[y * side + x] ?? 0);
      // Python cuts decimals off, the array would round them.
      pixels.set([...color.map((value) => Math.floor(value * light)), 255], (y * side + x) * 4);
    }
  }
  return pixels;
}

function rowColor({ bands, horizon }: Background, y: number, side: number): Rgb {
  const border = bands.length === 1 ? side : Math.round(horizon * side);
  const [band, first, last] = y < border ? [bands[0], 0, border] : [bands[1], border, side];
  if (band === undefined) throw new Error("a background has one band or two");
  const mix = (y - first) / Math.max(1, last - first - 1);
  const at = (channel: 0 | 1 | 2): number => band.top[channel] * (1 - mix) + band.bottom[channel] * mix;
  return [at(0), at(1), at(2)];
}

/** A field of 7 x 7 numbers made as large as the picture by cubic interpolation; about -1 to 1, [side * side]. */
function grainOf(texture: number, side: number): Float32Array {
  const coarse = sheet.textures[texture] ?? [];
  const weights = Array.from({ length: side }, (_, at) => cubicWeights(at, coarse.length, side));
  const rows = coarse.map((row) => weights.map((weight) => weighted(weight, row)));
  const grain = new Float32Array(side * side);
  for (let x = 0; x < side; x += 1) {
    const column = rows.map((row) => row[x] ?? 0);
    for (const [y, weight] of weights.entries()) grain[y * side + x] = weighted(weight, column) / 128 - 1;
  }
  return grain;
}

/** What each of `from` samples adds to sample `at` of `to`; the same filter as Pillow's BICUBIC. */
function cubicWeights(at: number, from: number, to: number): number[] {
  const center = ((at + 0.5) * from) / to;
  const weights = Array.from({ length: from }, (_, sample) => cubic(Math.abs(sample + 0.5 - center)));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

function cubic(distance: number): number {
  if (distance < 1) return (1.5 * distance - 2.5) * distance * distance + 1;
  return distance < 2 ? ((-0.5 * distance + 2.5) * distance - 4) * distance + 2 : 0;
}

/** A weighted mean, kept within what a byte holds, as Pillow keeps it. */
function weighted(weights: readonly number[], values: readonly number[]): number {
  const sum = weights.reduce((total, weight, index) => total + weight * (values[index] ?? 0), 0);
  return Math.min(255, Math.max(0, Math.round(sum)));
}
