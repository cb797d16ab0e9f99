/** What the page decides by itself: what to suggest, and what of a conversation the model is told. */

import { describe, expect, it } from "vitest";
import type { Tokenization } from "../../../pkg/src/types.ts";
import { afterEvent, messagesOf, newTurn, type Turn } from "../../../www/src/turn.ts";
import * as requests from "../../../www/src/worlds/drawn-requests.ts";
import { halves } from "../fake-wasm.ts";

const thing = (name: string, color: string | null = null, confidence = 0.9, isObject = true) => ({
  name,
  color,
  confidence,
  isObject,
});

function tokenizationOf(...names: NonNullable<Tokenization["names"]>): Tokenization {
  const tokens = names.map((_, id) => ({ id, center: [0, 0] as [number, number], patches: 1, score: 1 }));
  return { ...halves(), tokens, names };
}

const suggestions = (...about: Parameters<typeof requests.suggestions>): string[] =>
  requests.suggestions(...about).map(({ prompt }) => prompt);

describe("suggestions", () => {
  it("name things that the model is sure of, and only once", () => {
    const tokens = tokenizationOf(
      thing("sky", null, 0.9, false),
      thing("owl"),
      thing("owl"),
      thing("cat", "red"),
      thing("bee", null, 0.1),
    );
    expect(suggestions("segment", tokens)).toEqual([
      "the cat",
      "the leftmost owl",
      "the biggest owl",
      "the biggest object",
    ]);
    expect(suggestions("chat", tokens)).toContain("what color is the cat?");
    expect(suggestions("edit", tokens)).toEqual([
      "make the cat blue",
      "remove the cat",
      "replace the cat with a dog",
      "put it at night",
    ]);
  });

  it("begin with the token that was chosen", () => {
    const tokens = tokenizationOf(thing("owl", null, 0.99), thing("dog", null, 0.5));
    expect(suggestions("segment", tokens)[0]).toBe("the owl");
    expect(suggestions("segment", tokens, 1)[0]).toBe("the dog");
    expect(suggestions("edit", tokens, 1)).toContain("replace the dog with a cat");
    expect(suggestions("chat", tokens, 1)).toContain("is there an owl?");
    expect(requests.suggestions("edit", tokens, 1).every(({ mode }) => mode === "edit")).toBe(true);
  });

  it("are there for pictures without names too", () => {
    for (const mode of ["chat", "segment", "generate", "edit"] as const) {
      for (const tokens of [undefined, halves()]) expect(suggestions(mode, tokens).length).toBeGreaterThan(1);
    }
  });
});

describe("a conversation", () => {
  const picture = { name: "a", source: new Blob(), canvas: {} as HTMLCanvasElement, sample: true };
  const settings = { seed: 0, guidance: 1, steps: 25 };
  let id = 0;
  const turn = (input: string, changes: Partial<Turn> = {}): Turn => ({
    ...newTurn((id += 1), { mode: "chat", input, image: picture, tokens: undefined, settings }),
    ...changes,
  });
  const answered = (input: string, changes: Partial<Turn> = {}): Turn =>
    turn(input, { state: "done", answer: { role: "assistant", content: `${input}!` }, ...changes });

  it("is told from its first question about the picture, which carries it", () => {
    expect(messagesOf([answered("one"), turn("two")])).toEqual([
      {
        role: "user",
        content: [
          { type: "image", image: picture.source },
          { type: "text", text: "one" },
        ],
      },
      { role: "assistant", content: "one!" },
      { role: "user", content: [{ type: "text", text: "two" }] },
    ]);
    expect(messagesOf([])).toEqual([]);
  });

  it("leaves out other tasks, unfinished answers, and what came before another picture", () => {
    const other = { ...picture, name: "b" };
    const turns = [
      answered("old"),
      answered("elsewhere", { image: other }),
      answered("one"),
      answered("the cat", { mode: "segment" }),
      turn("broken", { state: "stopped" }),
      turn("two"),
    ];
    const said = messagesOf(turns).flatMap(({ content }) => (typeof content === "string" ? [] : content));
    expect(said.flatMap((part) => (part.type === "text" ? [part.text] : []))).toEqual(["one", "two"]);
  });

  it("keeps as many questions as the model was trained with", () => {
    const turns = [...Array.from({ length: 9 }, (_, index) => answered(String(index))), turn("last")];
    expect(messagesOf(turns)).toHaveLength(9);
    expect(messagesOf(turns)[0]?.content).toContainEqual({ type: "text", text: "5" });
  });

  it("says a verb once, however it was typed", () => {
    const prompt = (mode: Turn["mode"], input: string): string =>
      newTurn(1, { mode, input, image: picture, tokens: undefined, settings }).prompt;
    expect(prompt("segment", "Please find the cat")).toBe("the cat");
    expect(prompt("segment", "the finder")).toBe("the finder");
    expect(prompt("generate", "draw a cat")).toBe("a cat");
    expect(prompt("generate", "make a picture of a cat")).toBe("a cat");
    expect(prompt("chat", "draw a cat")).toBe("draw a cat");
  });

  it("grows with what happens", () => {
    let now = turn("one");
    now = afterEvent(now, { type: "text", text: "a " });
    now = afterEvent(now, { type: "text", text: "cat" });
    now = afterEvent(now, { type: "visual-token", index: 0, copied: 2 });
    now = afterEvent(now, { type: "visual-token", index: 1, copied: null });
    expect(now).toMatchObject({ text: "a cat", visualTokens: [2, null], state: "running" });
  });
});
