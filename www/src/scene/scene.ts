/**
 * A scene that a person puts together, after `training/data/scenes.py`: a background and a few things on it. Plain data;
 * places and sizes are pixels of the 128 x 128 picture that the model was trained with.
 */

import type { ColorName } from "../colors.ts";
import { withArticle } from "../names.ts";
import { placeName } from "../places.ts";
import { type Background, isColored, kindOf, sheet } from "./sheet.ts";

export interface Thing {
  readonly id: number;
  readonly name: string;
  readonly style: number;
  /** Only of things that come in colours. */
  readonly color: ColorName | undefined;
  readonly x: number;
  readonly y: number;
  readonly size: number;
  readonly flipped: boolean;
}

export interface Scene {
  readonly background: string;
  readonly texture: number;
  /** In drawing order. */
  readonly things: readonly Thing[];
}

export const SIDE = sheet.image_size;
export const MOST = sheet.max_objects;
const [SMALLEST, LARGEST] = sheet.object_size;
const MARGIN = 8;

export function backgroundOf({ background }: Pick<Scene, "background">): Background {
  const found = sheet.backgrounds.find(({ name }) => name === background);
  if (found === undefined) throw new Error(`there is no background ${background}`);
  return found;
}

/** A thing more, at the roomiest place; the same scene when it is full. */
export function withThing(scene: Scene, name: string, color: ColorName = "red"): Scene {
  if (scene.things.length >= MOST) return scene;
  const size = Math.round((SMALLEST + LARGEST) / 2);
  const thing: Thing = {
    id: 1 + Math.max(0, ...scene.things.map(({ id }) => id)),
    name,
    style: 0,
    color: isColored(kindOf(name)) ? color : undefined,
    ...roomiestPlace(scene, size),
    size,
    flipped: false,
  };
  return { ...scene, things: [...scene.things, thing] };
}

function roomiestPlace({ things }: Scene, size: number): { x: number; y: number } {
  const steps = Array.from({ length: 5 }, (_, step) => MARGIN + (step * (SIDE - 2 * MARGIN - size)) / 4);
  const places = steps.flatMap((y) => steps.map((x) => ({ x: Math.round(x), y: Math.round(y) })));
  // The first one leaves room for a second across from it.
  const others = things.length === 0 ? [] : things.map(centerOf);
  const room = ({ x, y }: { x: number; y: number }): number => {
    const center = { x: x + size / 2, y: y + size / 2 };
    if (others.length === 0) return -Math.hypot(center.x - SIDE / 3, center.y - (2 * SIDE) / 3);
    return Math.min(...others.map((other) => Math.hypot(other.x - center.x, other.y - center.y)));
  };
  return places.reduce((best, place) => (room(place) > room(best) ? place : best));
}

export function without(scene: Scene, id: number): Scene {
  return { ...scene, things: scene.things.filter((thing) => thing.id !== id) };
}

/** The thing with changes; it stays inside the picture, no smaller and no larger than the model knows things. */
export function withChange(scene: Scene, id: number, change: Partial<Omit<Thing, "id" | "name">>): Scene {
  const things = scene.things.map((thing) => (thing.id === id ? inside({ ...thing, ...change }) : thing));
  return { ...scene, things };
}

/** Larger or smaller around its middle. */
export function resized(scene: Scene, thing: Thing, by: number): Scene {
  const size = clamp(thing.size + by, SMALLEST, LARGEST);
  const shift = Math.round((thing.size - size) / 2);
  return withChange(scene, thing.id, { size, x: thing.x + shift, y: thing.y + shift });
}

function inside(thing: Thing): Thing {
  const most = SIDE - thing.size;
  return { ...thing, x: clamp(thing.x, 0, most), y: clamp(thing.y, 0, most) };
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, Math.round(value)));
}

export function spriteOf({ name, style, color }: Thing): number {
  const sprites = kindOf(name).styles[style] ?? [];
  const sprite = sprites[color === undefined ? 0 : sheet.colors.indexOf(color)];
  if (sprite === undefined) throw new Error(`there is no ${color ?? ""} ${name}`);
  return sprite;
}

/** Things that cover more of each other than the model has seen, as `is_free` in training decides it. */
export function overlaps({ things }: Scene): boolean {
  return things.some((a, index) =>
    things.slice(index + 1).some((b) => {
      const [p, q] = [centerOf(a), centerOf(b)];
      return Math.max(Math.abs(p.x - q.x), Math.abs(p.y - q.y)) <= 0.4 * (a.size + b.size);
    }),
  );
}

function centerOf({ x, y, size }: Thing): { x: number; y: number } {
  return { x: x + size / 2, y: y + size / 2 };
}

/** "red ball" */
export function nounOf({ name, color }: Thing): string {
  return color === undefined ? name : `${color} ${name}`;
}

/** "top left" */
export function cellOfThing(thing: Thing): string {
  const { x, y } = centerOf(thing);
  return placeName(x / SIDE, y / SIDE);
}

/** "a red ball and an owl on grass": the largest first, as the model would say it. */
export function captionOf(scene: Scene): string {
  const nouns = scene.things.toSorted((a, b) => b.size - a.size).map((thing) => withArticle(nounOf(thing)));
  const list = nouns.length < 2 ? nouns.join("") : `${nouns.slice(0, -1).join(", ")} and ${nouns.at(-1) ?? ""}`;
  return `${list} ${backgroundOf(scene).phrase}`.trim();
}
