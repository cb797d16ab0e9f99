/** The composer's scenes against those of training: `python -m training.fixtures.sprite_sheet` makes them. */

import { expect, it } from "vitest";
import { colorNames } from "../../../www/src/colors.ts";
import { backgroundPixels } from "../../../www/src/scene/background.ts";
import {
  backgroundOf,
  captionOf,
  cellOfThing,
  MOST,
  overlaps,
  resized,
  type Scene,
  SIDE,
  spriteOf,
  type Thing,
  withChange,
  without,
  withThing,
} from "../../../www/src/scene/scene.ts";
import { sheet, tileOf } from "../../../www/src/scene/sheet.ts";
import golden from "./scene.golden.json";

const empty: Scene = { background: "grass", texture: 0, things: [] };
const PATCH = 8;

/** Mean colour of each patch, [R, G, B]. */
function patchMeans(pixels: Uint8ClampedArray): number[][] {
  const across = SIDE / PATCH;
  return Array.from({ length: across * across }, (_, patch) => {
    const [top, left] = [Math.floor(patch / across) * PATCH, (patch % across) * PATCH];
    return [0, 1, 2].map((channel) => {
      let sum = 0;
      for (let i = 0; i < PATCH * PATCH; i += 1) {
        const [y, x] = [top + Math.floor(i / PATCH), left + (i % PATCH)];
        sum += pixels[(y * SIDE + x) * 4 + channel] ?? 0;
      }
      return sum / (PATCH * PATCH);
    });
  });
}

it.each(golden.filter(({ objects }) => objects.length === 0))("shades $background as training does", (scene) => {
  const background = { ...backgroundOf(scene), horizon: scene.horizon };
  const means = patchMeans(backgroundPixels(background, scene.texture, SIDE));
  const differences = means.flatMap((mean, patch) =>
    mean.map((value, channel) => Math.abs(value - (scene.patches[patch]?.[channel] ?? 0))),
  );
  expect(differences).toHaveLength(768);
  expect(Math.max(...differences)).toBeLessThan(1); // float32 in Python, float64 here
});

it("says what training says of the same scene", () => {
  const [scene] = golden.filter(({ objects }) => objects.length > 0);
  if (scene === undefined) throw new Error("no golden scene has objects");
  const things = scene.objects.map((object, id) => ({ ...object, id, color: object.color ?? undefined }) as Thing);
  expect(captionOf({ background: scene.background, texture: 0, things })).toBe(scene.caption);
  expect(things.map(cellOfThing)).toEqual(scene.objects.map(({ cell }) => cell));
});

it("knows the colours by the same names and in the same order", () => {
  expect(sheet.colors).toEqual(colorNames);
});

it("has a sprite on the sheet for every thing, style and colour", () => {
  const sprites = sheet.objects.flatMap(({ styles }) => styles.flat());
  expect(new Set(sprites).size).toBe(sprites.length);
  expect(sprites.length).toBe(380);
  const rows = Math.ceil(sprites.length / sheet.columns);
  for (const sprite of sprites) {
    const { x, y, size } = tileOf(sprite);
    expect(x + size).toBeLessThanOrEqual(sheet.columns * size);
    expect(y + size).toBeLessThanOrEqual(rows * size);
  }
});

it("puts things apart until the scene is full", () => {
  let scene = empty;
  for (const name of ["owl", "ball", "cat", "dog", "bee", "fox"]) scene = withThing(scene, name);
  expect(scene.things.map(({ name }) => name)).toEqual(["owl", "ball", "cat", "dog", "bee"]);
  expect(scene.things).toHaveLength(MOST);
  expect(new Set(scene.things.map(({ id }) => id)).size).toBe(MOST);
  expect(overlaps(scene)).toBe(false);
  expect(scene.things.map(({ color }) => color)).toEqual([undefined, "red", undefined, undefined, undefined]);
  expect(without(scene, 2).things.map(({ name }) => name)).not.toContain("ball");
});

it("keeps things inside the picture and of a size that the model knows", () => {
  const scene = withThing(empty, "star");
  const [thing] = scene.things as [Thing];
  const [moved] = withChange(scene, thing.id, { x: -20, y: 900 }).things as [Thing];
  expect([moved.x, moved.y]).toEqual([0, SIDE - thing.size]);
  const [large] = resized(scene, thing, 100).things as [Thing];
  expect(large.size).toBe(53);
  expect(large.x + large.size / 2).toBeCloseTo(thing.x + thing.size / 2, -1);
  expect(resized(scene, thing, -100).things[0]?.size).toBe(30);
  const [blue] = withChange(scene, thing.id, { color: "blue", style: 1 }).things as [Thing];
  expect(spriteOf(blue)).toBe(sheet.objects.find(({ name }) => name === "star")?.styles[1]?.[4]);
  const both = withThing(scene, "owl");
  expect(overlaps(withChange(both, 2, { x: thing.x + 4, y: thing.y }))).toBe(true);
});
