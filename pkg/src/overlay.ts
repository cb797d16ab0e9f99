/** Shows tokens over a picture: as shapes on a canvas, or as pixels. */

import { forEachPatchPixel, type Outline, type Partition, tokenOutlines } from "./masks.js";
import { type Color, cssColor, paletteColor } from "./palette.js";
import type { Rect } from "./types.js";

export interface OverlayOptions {
  /** Of the fill, 0 to 1. Default 0.45. */
  opacity?: number;
  /** A line around each region. Default true. */
  borders?: boolean;
  /** A token to bring out: the rest is dimmed. */
  highlight?: number | undefined;
  /** Colour of a token. Default: the package's palette. */
  color?: (id: number) => Color;
}

export interface DrawOptions extends OverlayOptions {
  /** Where the whole picture lies on the canvas. Default: all of it. */
  target?: Rect;
  /** Width of the lines, in the canvas's units. Default 2. */
  lineWidth?: number;
  /** Of the regions' corners, as a part of a patch. Default 0.35. */
  rounding?: number;
}

type Context2D = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

/** Draws the regions of all tokens over what is on the canvas; takes a tokenization or the tokens of a generated image. */
export function drawOverlay(
  context: Context2D,
  tokenization: Partition & { tokens: readonly { id: number }[] },
  options: DrawOptions = {},
): void {
  const {
    opacity = 0.45,
    borders = true,
    highlight,
    color = paletteColor,
    target = { x: 0, y: 0, width: context.canvas.width, height: context.canvas.height },
    lineWidth = 2,
    rounding = 0.35,
  } = options;
  const toCanvas = gridToCanvas(tokenization, target);
  const radius = rounding * Math.min(toCanvas.width, toCanvas.height);

  context.save();
  context.beginPath();
  context.rect(target.x, target.y, target.width, target.height);
  context.clip();
  context.lineJoin = "round";
  for (const { id } of tokenization.tokens) {
    if (id === highlight) continue;
    traceOutlines(context, tokenOutlines(tokenization, id), toCanvas, radius);
    context.globalAlpha = opacity;
    context.fillStyle = cssColor(color(id));
    context.fill();
    if (borders) strokeInside(context, cssColor(color(id)), lineWidth, Math.min(1, opacity + 0.45));
  }
  if (highlight !== undefined) {
    const outlines = tokenOutlines(tokenization, highlight);
    // Everything but the region, in one shape: the even-odd rule makes the region a hole in it.
    traceOutlines(context, outlines, toCanvas, radius);
    context.rect(target.x, target.y, target.width, target.height);
    context.globalAlpha = 0.62;
    context.fillStyle = "rgb(12 13 18)";
    context.fill("evenodd");
    traceOutlines(context, outlines, toCanvas, radius);
    context.globalAlpha = opacity * 0.25;
    context.fillStyle = cssColor(color(highlight));
    context.fill();
    context.globalAlpha = 1;
    context.lineWidth = lineWidth * 2.5;
    context.strokeStyle = "rgb(255 255 255)";
    context.stroke();
    context.lineWidth = lineWidth * 1.5;
    context.strokeStyle = cssColor(color(highlight));
    context.stroke();
  }
  context.restore();
}

/** The overlay alone, as a `width` x `height` RGBA picture of the whole image (not premultiplied). */
export function overlayPixels(
  partition: Partition,
  width: number,
  height: number,
  options: OverlayOptions = {},
): Uint8ClampedArray<ArrayBuffer> {
  const { opacity = 0.45, borders = true, highlight, color = paletteColor } = options;
  const pixels = new Uint8ClampedArray(width * height * 4);
  const labels = new Int32Array(width * height).fill(-1);
  forEachPatchPixel(partition, width, height, (pixel, patch) => {
    labels[pixel] = partition.labels[patch] ?? -1;
  });
  const colors = new Map<number, Color>();
  for (let pixel = 0; pixel < labels.length; pixel += 1) {
    const label = labels[pixel] ?? -1;
    if (label < 0) continue;
    let fill = colors.get(label);
    if (fill === undefined) colors.set(label, (fill = color(label)));
    const edge =
      borders &&
      ((pixel % width < width - 1 && labels[pixel + 1] !== label) ||
        (pixel + width < labels.length && labels[pixel + width] !== label));
    const dimmed = highlight !== undefined && label !== highlight;
    const alpha = edge ? Math.min(1, opacity + 0.45) : dimmed ? opacity / 3 : opacity;
    pixels.set([fill.r, fill.g, fill.b, Math.round(alpha * 255)], pixel * 4);
  }
  return pixels;
}

interface GridTransform extends Rect {
  /** `x`, `y`: where the grid begins; `width`, `height`: of one patch. */
}

function gridToCanvas({ image, grid, crop }: Partition, target: Rect): GridTransform {
  const scaleX = target.width / image.width;
  const scaleY = target.height / image.height;
  return {
    x: target.x + crop.x * scaleX,
    y: target.y + crop.y * scaleY,
    width: (crop.width * scaleX) / grid[1],
    height: (crop.height * scaleY) / grid[0],
  };
}

/** Makes the outlines the current path, with rounded corners. */
function traceOutlines(context: Context2D, outlines: Outline[], grid: GridTransform, radius: number): void {
  context.beginPath();
  for (const outline of outlines) {
    const corners = outline.map(([x, y]) => [grid.x + x * grid.width, grid.y + y * grid.height] as const);
    const [first] = corners;
    const last = corners.at(-1);
    if (first === undefined || last === undefined) continue;
    // Begins in the middle of an edge, so that the first corner is rounded too.
    context.moveTo((first[0] + last[0]) / 2, (first[1] + last[1]) / 2);
    for (const [index, corner] of corners.entries()) {
      const next = corners[(index + 1) % corners.length] ?? first;
      context.arcTo(corner[0], corner[1], (corner[0] + next[0]) / 2, (corner[1] + next[1]) / 2, radius);
    }
    context.closePath();
  }
}

/** A line that stays inside its own region, so that two neighbours' lines lie side by side. */
function strokeInside(context: Context2D, style: string, lineWidth: number, alpha: number): void {
  context.save();
  context.clip();
  context.globalAlpha = alpha;
  context.lineWidth = lineWidth * 2;
  context.strokeStyle = style;
  context.stroke();
  context.restore();
}
