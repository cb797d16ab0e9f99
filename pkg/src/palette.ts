/** Colours for tokens: the same token has the same colour in every run, and neighbours in the list differ clearly. */

/** 8-bit sRGB. */
export interface Color {
  r: number;
  g: number;
  b: number;
}

/** 360 degrees over the golden ratio squared: no two of the first hundreds of hues fall together. */
const GOLDEN_ANGLE = 137.507764;
/** Three steps of lightness, so that colours also differ for those who see hues alike. */
const LIGHTNESS = [0.72, 0.6, 0.82] as const;
const CHROMA = 0.17;
const FIRST_HUE = 262;

/** The colour of token `index` (0, 1, 2, …). */
export function paletteColor(index: number): Color {
  const lightness = LIGHTNESS[index % LIGHTNESS.length] ?? LIGHTNESS[0];
  const hue = (FIRST_HUE + index * GOLDEN_ANGLE) % 360;
  // The most saturated colour of this hue and lightness that a screen can show.
  for (let chroma = CHROMA; chroma > 0; chroma -= 0.005) {
    const color = colorFromOklch(lightness, chroma, hue);
    if (color !== undefined) return color;
  }
  const grey = Math.round(lightness * 255);
  return { r: grey, g: grey, b: grey };
}

/** The first `count` colours. */
export function palette(count: number): Color[] {
  return Array.from({ length: count }, (_, index) => paletteColor(index));
}

/** `rgb(…)` for CSS and canvases. */
export function cssColor({ r, g, b }: Color, alpha = 1): string {
  return alpha === 1 ? `rgb(${r} ${g} ${b})` : `rgb(${r} ${g} ${b} / ${alpha})`;
}

/** OKLCH (Björn Ottosson, 2020) -> sRGB; undefined outside the gamut. */
function colorFromOklch(lightness: number, chroma: number, hue: number): Color | undefined {
  const radians = (hue * Math.PI) / 180;
  const a = chroma * Math.cos(radians);
  const b = chroma * Math.sin(radians);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  if (linear.some((value) => value < 0 || value > 1)) return undefined;
  const [red = 0, green = 0, blue = 0] = linear.map((value) =>
    Math.round(255 * (value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055)),
  );
  return { r: red, g: green, b: blue };
}
