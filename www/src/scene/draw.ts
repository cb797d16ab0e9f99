/** A scene on a canvas. */

import { context2d, create } from "../dom.ts";
import { backgroundPixels } from "./background.ts";
import { backgroundOf, type Scene, SIDE, spriteOf, type Thing } from "./scene.ts";
import { tileOf } from "./sheet.ts";
import sheetUrl from "./sprites.webp";

/** Twice the side that the model reads, so that a scene is not coarser on the screen than it must be. */
export const DRAWN_SIDE = 2 * SIDE;

/** The sheet of sprites, fetched once. */
export async function loadSprites(): Promise<ImageBitmap> {
  const image = new Image();
  image.src = sheetUrl;
  await image.decode();
  return createImageBitmap(image);
}

/** Draws a scene as large as the canvas is. */
export function drawScene(canvas: HTMLCanvasElement, scene: Scene, sprites: ImageBitmap): void {
  const context = context2d(canvas);
  context.drawImage(backgroundCanvas(scene, canvas.width), 0, 0);
  context.imageSmoothingQuality = "high";
  for (const thing of scene.things) drawThing(context, thing, sprites, canvas.width / SIDE);
}

function drawThing(context: CanvasRenderingContext2D, thing: Thing, sprites: ImageBitmap, scale: number): void {
  const tile = tileOf(spriteOf(thing));
  const [x, y, size] = [thing.x * scale, thing.y * scale, thing.size * scale];
  context.save();
  if (thing.flipped) {
    context.translate(2 * x + size, 0);
    context.scale(-1, 1);
  }
  context.drawImage(sprites, tile.x, tile.y, tile.size, tile.size, x, y, size, size);
  context.restore();
}

/** Things are moved far more often than the background is changed. */
let cached: { key: string; canvas: HTMLCanvasElement } | undefined;

function backgroundCanvas({ background, texture }: Scene, side: number): HTMLCanvasElement {
  const key = `${background} ${texture} ${side}`;
  if (cached?.key === key) return cached.canvas;
  const canvas = create("canvas", "");
  canvas.width = canvas.height = side;
  const pixels = backgroundPixels(backgroundOf({ background }), texture, side);
  context2d(canvas).putImageData(new ImageData(pixels, side, side), 0, 0);
  cached = { key, canvas };
  return canvas;
}
