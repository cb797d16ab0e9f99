/** What the page says and offers in each world. */

import { readdirSync, readFileSync, statSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { Tokenization, TokenName } from "../../../pkg/src/types.ts";
import { confidentName, titleOf } from "../../../www/src/names.ts";
import { worlds } from "../../../www/src/worlds/index.ts";
import { requestsFor, suggestions } from "../../../www/src/worlds/photograph-requests.ts";
import { halves } from "../fake-wasm.ts";

const { photographs, drawn } = worlds;
const named = (name: string, isObject = true, confidence = 0.9): TokenName => ({
  name,
  color: null,
  confidence,
  isObject,
});

/** One column of the picture for each name. */
function photoOf(...names: TokenName[]): Tokenization {
  const tokens = names.map((_, id) => ({ id, center: [0, 0] as [number, number], patches: 1, score: 1 }));
  const labels = Uint32Array.from(names, (_, id) => id);
  const image = { width: names.length, height: 1 };
  return { ...halves(), image, grid: [1, names.length], labels, crop: { x: 0, y: 0, ...image }, tokens, names };
}

const park = photoOf(named("grass", false), named("dog"), named("shoes", true, 0.7), named("something"));
const prompts = (id: number): string[] =>
  requestsFor(park, id).requests.map(({ mode, prompt }) => `${mode}: ${prompt}`);

describe("each world", () => {
  it.each([photographs, drawn])("has words for all that its models do: $kind", (world) => {
    for (const mode of ["chat", "segment", "generate", "edit"] as const) {
      expect(world.modes[mode] !== undefined).toBe(world.tasks.includes(mode));
    }
    expect(world.welcome.can).toHaveLength(4);
    // Each in one line of a phone.
    for (const line of world.welcome.can) expect(line.length).toBeLessThanOrEqual(36);
  });

  it("shows samples that are there, small enough to be fetched with the page", () => {
    const folder = new URL("../../../models/samples/", import.meta.url);
    const there = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => /\.\w+$/.test(name));
    const listed = [photographs, drawn].flatMap(({ samples }) => samples.map(({ file }) => file));
    expect(listed.toSorted()).toEqual(there.toSorted());
    for (const file of listed) expect(statSync(new URL(file, folder)).size).toBeLessThan(80_000);
  });

  it("says whose its photographs are, as the notice of the repository does", () => {
    const notice = readFileSync(new URL("../../../NOTICE", import.meta.url), "utf8");
    for (const { file, credit } of photographs.samples) {
      const [author = "?", licence = "?"] = credit?.split(", ") ?? [];
      const line = notice.split("\n").find((each) => each.includes(file.replace("photos/", "")));
      expect(line).toContain(author);
      expect(line).toContain(licence);
    }
  });
});

describe("a photograph", () => {
  it("is suggested what fits the names of its tokens", () => {
    const texts = (...about: Parameters<typeof suggestions>): string[] =>
      suggestions(...about).map(({ mode, prompt }) => `${mode}: ${prompt}`);
    expect(texts("chat", park)).toEqual([
      "chat: Describe the photo.",
      "chat: What is the dog doing?",
      "segment: Find the dog",
      "edit: Blur the background",
      "edit: Cut out the dog",
      "edit: Remove the shoes",
    ]);
    expect(texts("chat", park, 2)[1]).toBe("chat: What color are the shoes?");
    expect(texts("segment", park)).toEqual(["segment: the dog", "segment: the shoes", "segment: the grass"]);
    expect(texts("edit", park)).toContain("edit: Brighten the dog");
    for (const mode of ["chat", "segment", "edit"] as const) {
      for (const tokens of [undefined, photoOf(named("something"))])
        expect(texts(mode, tokens).length).toBeGreaterThan(1);
    }
    expect(texts("edit", undefined).join()).not.toContain("undefined");
  });

  it("can be asked about each of its tokens, and edited where one has a name", () => {
    expect(prompts(1)).toEqual([
      "chat: What is the dog doing?",
      "chat: What is in the middle?",
      "segment: the dog",
      "edit: cut out the dog",
      "edit: blur the dog",
      "edit: remove the dog",
      "edit: brighten the dog",
    ]);
    expect(requestsFor(park, 1).recolor).toEqual([]); // nobody wants a blue dog
    expect(requestsFor(park, 2).recolor.map(({ request }) => request.prompt)).toContain("make the shoes blue");
    expect(prompts(0)).toEqual([
      "chat: What is on the left?",
      "segment: the grass",
      "edit: blur the background",
      "edit: make the background gray",
      "edit: replace the background with white",
      "edit: brighten the grass",
    ]);
    expect(prompts(3)).toEqual(["chat: What is on the right?"]);
  });

  it("shows the names of tokens, and the number of one that the model calls something", () => {
    expect([0, 1, 2, 3].map((id) => titleOf(park, id))).toEqual(["grass", "dog", "shoes", "token 3"]);
    expect(confidentName(park, 3)).toBeUndefined();
  });
});
