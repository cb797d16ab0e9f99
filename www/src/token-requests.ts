/**
 * What can be asked about one token, in words that the model was trained with (`training/data/text.py`): whole requests,
 * and for what a person must choose, the choice that stands in for it.
 */

import type { AnswerTask, Tokenization } from "setokim";
import { type ColorName, colorNames } from "./colors.ts";
import { confidentName, withArticle } from "./names.ts";

export interface Request {
  mode: AnswerTask;
  prompt: string;
  /** The part of the words that the person is to choose. */
  open?: string;
}

export interface TokenRequests {
  requests: Request[];
  /** One for each colour that it does not have; empty for a thing of one colour. */
  recolor: { color: ColorName; request: Request }[];
}

export function requestsFor(tokens: Tokenization, id: number): TokenRequests {
  const found = confidentName(tokens, id);
  if (found?.isObject === false) {
    const requests: Request[] = [
      { mode: "chat", prompt: "what is the background?" },
      { mode: "edit", prompt: "put it at night", open: "at night" },
    ];
    return { requests, recolor: [] };
  }
  const phrase = phraseFor(tokens, id);
  const other = withArticle(found?.name === "cat" ? "dog" : "cat");
  const requests: Request[] = [
    ...questionAbout(tokens, id),
    { mode: "chat", prompt: `what is at the ${cellOf(tokens, id)}?` },
    { mode: "segment", prompt: phrase },
    { mode: "edit", prompt: `remove ${phrase}` },
    { mode: "edit", prompt: `replace ${phrase} with ${other}`, open: other },
  ];
  const isColored = found !== undefined && found.color !== null;
  const others = isColored ? colorNames.filter((color) => color !== found.color) : [];
  const recolor = others.map((color) => ({
    color,
    request: { mode: "edit" as const, prompt: `make ${phrase} ${color}` },
  }));
  return { requests, recolor };
}

/** Only about a thing that its name alone identifies. */
function questionAbout(tokens: Tokenization, id: number): Request[] {
  const found = confidentName(tokens, id);
  if (found === undefined || sameName(tokens, found.name) > 1) return [];
  const prompt = found.color === null ? `where is the ${found.name}?` : `what color is the ${found.name}?`;
  return [{ mode: "chat", prompt }];
}

/** Words that fit this token and no other: its name if that is enough, else with its colour or its place. */
export function phraseFor(tokens: Tokenization, id: number): string {
  const found = confidentName(tokens, id);
  if (found === undefined) return `the object at the ${cellOf(tokens, id)}`;
  const { name, color } = found;
  if (sameName(tokens, name) === 1) return `the ${name}`;
  if (color !== null && sameName(tokens, name, color) === 1) return `the ${color} ${name}`;
  return `the ${name} at the ${cellOf(tokens, id)}`;
}

function sameName(tokens: Tokenization, name: string, color?: string): number {
  return tokens.tokens.filter(({ id }) => {
    const found = confidentName(tokens, id);
    return found?.name === name && (color === undefined || found.color === color);
  }).length;
}

const columnNames = ["left", "", "right"];
const rowNames = ["top", "", "bottom"];

/** One of nine parts of the picture by the middle of the token's box, with the borders of `training/data/text.py`. */
export function cellOf({ labels, grid, crop, image }: Tokenization, id: number): string {
  const [rows, columns] = grid;
  const cells = [...labels.keys()].filter((patch) => labels[patch] === id);
  const middle = (values: number[]): number => (Math.min(...values) + Math.max(...values) + 1) / 2;
  const x = (crop.x + (middle(cells.map((patch) => patch % columns)) / columns) * crop.width) / image.width;
  const y = (crop.y + (middle(cells.map((patch) => Math.floor(patch / columns))) / rows) * crop.height) / image.height;
  return placeName(x, y);
}

/** "top left", "center" and so on for a point in parts of the picture's width and height. */
export function placeName(x: number, y: number): string {
  const third = (part: number): number => (part <= 0.37 ? 0 : part <= 0.63 ? 1 : 2);
  return `${rowNames[third(y)]} ${columnNames[third(x)]}`.trim() || "center";
}
