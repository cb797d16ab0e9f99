/** Things to ask that fit the picture and the model: whole requests, in the words that it was trained with. */

import type { AnswerTask, Tokenization, TokenName } from "setokim";
import { SURE, withArticle } from "./names.ts";

const scenes = [
  "a cat and a red ball on grass",
  "a moon and a cactus in the desert",
  "a blue car and a dog on a beach",
  "an owl and a yellow star at night",
];

/** Three or four requests, the most telling first; about the token that was chosen, if it shows a thing. */
export function suggestions(mode: AnswerTask, tokens: Tokenization | undefined, chosen?: number): string[] {
  if (mode === "generate") return scenes;
  const things = thingsIn(tokens, chosen);
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

/** The objects of the picture that the model is sure of: the chosen one, then the most certain. */
function thingsIn(tokens: Tokenization | undefined, chosen: number | undefined): TokenName[] {
  if (tokens === undefined || tokens.names === null) return [];
  const first = tokens.names[tokens.tokens.findIndex(({ id }) => id === chosen)];
  const sure = tokens.names.filter(({ isObject, confidence }) => isObject && confidence >= SURE);
  return sure.toSorted((a, b) => Number(b === first) - Number(a === first) || b.confidence - a.confidence);
}
