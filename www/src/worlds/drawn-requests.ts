/** What can be asked in the drawn world, in words that its model was trained with (`training/data/text.py`). */

import type { Tokenization } from "setokim";
import { colorNames } from "../colors.ts";
import { confidentName, surestNames, withArticle } from "../names.ts";
import { cellOf } from "../places.ts";
import type { Mode, Request, TokenRequests } from "./world.ts";

const scenes = [
  "a cat and a red ball on grass",
  "a moon and a cactus in the desert",
  "a blue car and a dog on a beach",
  "an owl and a yellow star at night",
];

/** Three or four requests of one mode. */
export function suggestions(mode: Mode, tokens: Tokenization | undefined, chosen?: number): Request[] {
  return promptsFor(mode, tokens, chosen).map((prompt) => ({ mode, prompt }));
}

function promptsFor(mode: Mode, tokens: Tokenization | undefined, chosen: number | undefined): string[] {
  if (mode === "generate") return scenes;
  const things = surestNames(tokens, true, chosen);
  const alone = things.filter(({ name }) => things.filter((other) => other.name === name).length === 1);
  const [one, other] = alone;
  if (mode === "segment") {
    const named = alone.map(({ name }) => `the ${name}`);
    const repeated = things.find(({ name }) => !alone.some((thing) => thing.name === name));
    const ranked = repeated === undefined ? [] : [`the leftmost ${repeated.name}`, `the biggest ${repeated.name}`];
    return [...named, ...ranked, "the biggest object", "the leftmost object"].slice(0, 4);
  }
  if (mode === "edit") {
    const colored = alone.find(({ color }) => color !== null);
    return [
      ...(colored === undefined ? [] : [`make the ${colored.name} ${colored.color === "blue" ? "red" : "blue"}`]),
      ...(one === undefined
        ? []
        : [`remove the ${one.name}`, `replace the ${one.name} with a ${one.name === "dog" ? "cat" : "dog"}`]),
      "put it at night",
      "put it in the snow",
    ].slice(0, 4);
  }
  return [
    "what do you see?",
    "how many things are there?",
    ...(one === undefined ? [] : [one.color === null ? `where is the ${one.name}?` : `what color is the ${one.name}?`]),
    other === undefined ? "what is the background?" : `is there ${withArticle(other.name)}?`,
  ];
}

/** Whole requests, and for what a person must choose, the choice that stands in for it. */
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
