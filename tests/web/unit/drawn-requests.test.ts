/** The words for one token: they must fit it alone, and be words that the model was trained with. */

import { expect, it } from "vitest";
import type { Tokenization, TokenName } from "../../../pkg/src/types.ts";
import { cellOf, placeName } from "../../../www/src/places.ts";
import { phraseFor, requestsFor } from "../../../www/src/worlds/drawn-requests.ts";

const thing = (name: string, color: string | null = null, confidence = 0.9): TokenName => ({
  name,
  color,
  confidence,
  isObject: true,
});

/** A 4 x 4 grid: background 0, and one patch for each thing, row by row. */
function tokenizationOf(...things: TokenName[]): Tokenization {
  const labels = Uint32Array.from({ length: 16 }, (_, patch) =>
    patch % 5 === 0 && patch / 5 < things.length ? patch / 5 + 1 : 0,
  );
  const names = [{ name: "grass", color: null, confidence: 0.99, isObject: false }, ...things];
  return {
    image: { width: 128, height: 128 },
    grid: [4, 4],
    labels,
    crop: { x: 0, y: 0, width: 128, height: 128 },
    tokens: names.map((_, id) => ({ id, center: [0, 0] as [number, number], patches: 1, score: 1 })),
    names,
    unfamiliar: null,
    device: "cpu",
    timingsMs: {},
  };
}

it("names the part of the picture as training does", () => {
  const tokens = tokenizationOf(thing("owl"), thing("cat"), thing("dog"), thing("fox"));
  expect([1, 2, 3, 4].map((id) => cellOf(tokens, id))).toEqual(["top left", "center", "center", "bottom right"]);
  expect(placeName(0.5, 0.2)).toBe("top");
  expect(placeName(0.37, 0.64)).toBe("bottom left");
  expect(placeName(0.9, 0.5)).toBe("right");
});

it("takes the shortest phrase that fits one thing only", () => {
  const tokens = tokenizationOf(thing("owl"), thing("ball", "red"), thing("ball", "blue"), thing("bee", null, 0.1));
  expect([1, 2, 3].map((id) => phraseFor(tokens, id))).toEqual(["the owl", "the red ball", "the blue ball"]);
  expect(phraseFor(tokens, 4)).toBe("the object at the bottom right");
  expect(phraseFor(tokenizationOf(thing("owl"), thing("owl")), 1)).toBe("the owl at the top left");
});

it("offers what fits the token", () => {
  const tokens = tokenizationOf(thing("owl"), thing("ball", "red"));
  const prompt = (id: number): string[] =>
    requestsFor(tokens, id).requests.map((request) => `${request.mode}: ${request.prompt}`);
  expect(prompt(1)).toEqual([
    "chat: where is the owl?",
    "chat: what is at the top left?",
    "segment: the owl",
    "edit: remove the owl",
    "edit: replace the owl with a cat",
  ]);
  expect(requestsFor(tokens, 1).recolor).toEqual([]);
  expect(prompt(2)[0]).toBe("chat: what color is the ball?");
  const { recolor } = requestsFor(tokens, 2);
  expect(recolor).toHaveLength(7);
  expect(recolor.map(({ request }) => request.prompt)).toContain("make the ball blue");
  expect(recolor.map(({ color }) => color)).not.toContain("red");
  // A background cannot be taken away, but the place can be another.
  expect(prompt(0)).toEqual(["chat: what is the background?", "edit: put it at night"]);
});
