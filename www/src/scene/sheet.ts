/** What scenes are drawn with: made by `python -m training.fixtures.sprite_sheet` from what the model was trained on. */

import type { ColorName } from "../colors.ts";
import data from "./sprites.json";

export type Rgb = readonly [number, number, number];

/** A kind of thing: for each drawing style, the sprite of each colour, or a single one. */
export interface Kind {
  name: string;
  styles: readonly (readonly number[])[];
}

export interface Background {
  name: string;
  /** "on grass" */
  phrase: string;
  /** Where the second band begins, in parts of the height; 1 when there is only one. */
  horizon: number;
  /** Shaded from top to bottom. */
  bands: readonly { top: Rgb; bottom: Rgb }[];
}

interface Sheet {
  image_size: number;
  max_objects: number;
  object_size: readonly [smallest: number, largest: number];
  sprite_size: number;
  columns: number;
  colors: readonly ColorName[];
  objects: readonly Kind[];
  backgrounds: readonly Background[];
  texture_strength: number;
  textures: readonly (readonly (readonly number[])[])[];
}

export const sheet = data as unknown as Sheet;

/** Where a sprite is on the sheet, in pixels. */
export function tileOf(sprite: number): { x: number; y: number; size: number } {
  const { columns, sprite_size: size } = sheet;
  return { x: (sprite % columns) * size, y: Math.floor(sprite / columns) * size, size };
}

export function kindOf(name: string): Kind {
  const kind = sheet.objects.find((each) => each.name === name);
  if (kind === undefined) throw new Error(`there is no sprite of a ${name}`);
  return kind;
}

/** Things that come in colours have all of them, and no other. */
export function isColored({ styles }: Kind): boolean {
  return styles[0]?.length === sheet.colors.length;
}
