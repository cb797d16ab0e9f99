/**
 * The four tasks through the real wasm, with a tiny model whose weights are random: answers mean nothing, but they have
 * their form, come piece by piece, stop on request, and are the same every time.
 */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, type Page } from "@playwright/test";
import type * as Package from "setokim";
import { test } from "./helpers.ts";

declare const lib: typeof Package;

const sample = readFileSync(fileURLToPath(new URL("../../models/samples/beach.png", import.meta.url))).toString(
  "base64",
);
const url = "/fixtures/tiny-setokim/";

async function openLab(page: Page): Promise<void> {
  await page.goto("lab.html");
  await page.waitForFunction(() => "lib" in globalThis);
  await page.evaluate((base64) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    Object.assign(globalThis, { picture: new Blob([bytes], { type: "image/png" }) });
  }, sample);
}

declare const picture: Blob;

test("chats: text in pieces, whole at the end, and the next turn remembers the first", async ({ page }) => {
  await openLab(page);
  const outcome = await page.evaluate(async (model) => {
    const setokim = await lib.Setokim.load(model, { device: "cpu" });
    const messages: Package.Message[] = [
      {
        role: "user",
        content: [
          { type: "image", image: picture },
          { type: "text", text: "what is this?" },
        ],
      },
    ];
    const options = { maxTokens: 12, temperature: 1, seed: 5 };
    const answering = setokim.chat(messages, options);
    const events: Package.AnswerEvent[] = [];
    for await (const event of answering) events.push(event);
    const answer = await answering;
    const again = await setokim.chat(messages, options);
    messages.push(answer.message, { role: "user", content: "and now?" });
    const next = await setokim.chat(messages, { maxTokens: 4 });
    await setokim.dispose();
    return {
      tasks: setokim.tasks,
      types: events.map(({ type }) => type),
      streamed: events.map((event) => (event.type === "text" ? event.text : "")).join(""),
      text: answer.text,
      again: again.text,
      usage: answer.usage,
      next: next.usage,
    };
  }, url);
  expect(outcome.tasks).toEqual(["tokenize", "reconstruct", "chat", "segment", "generate", "edit"]);
  expect(outcome.types.at(-1)).toBe("done");
  expect(outcome.types.filter((type) => type === "done")).toHaveLength(1);
  expect(outcome.streamed).toBe(outcome.text);
  expect(outcome.again).toBe(outcome.text);
  expect(outcome.usage.answerTokens).toBeGreaterThan(0);
  expect(outcome.usage.answerTokens).toBeLessThanOrEqual(12);
  expect(outcome.usage.promptTokens).toBeGreaterThan(5);
  expect(["end", "length"]).toContain(outcome.usage.finish);
  expect(outcome.next.cachedTokens).toBeGreaterThan(0);
});

test("segments, generates and edits: sizes, tokens, seeds", async ({ page }) => {
  await openLab(page);
  const outcome = await page.evaluate(async (model) => {
    const setokim = await lib.Setokim.load(model, { device: "cpu" });
    const { mask, usage } = await setokim.segment(picture, "the owl", { required: true });
    const options = { diffusion: { steps: 4 }, required: true };
    const pixels: number[][] = [];
    const generate = async (prompt: string, seed: number): Promise<Package.GeneratedImage> => {
      const answer = await setokim.generate(prompt, { ...options, seed });
      if (answer.image === null) throw new Error("an image was required");
      return answer;
    };
    for (const seed of [3, 3, 4]) pixels.push([...(await generate("a dog on grass", seed)).image.data]);
    const first = await generate("a dog", 3);
    const edited = await setokim.edit(picture, "remove the owl", options);
    const onGenerated = await setokim.edit(first.image, "make it red", options);
    const shapeOf = ({ image, tokens: { image: size, grid, labels, tokens } }: Package.GeneratedImage) => ({
      size: [image.width, image.height],
      sameSize: size.width === image.width && size.height === image.height,
      grid,
      labels: labels.length,
      owned: labels.every((label) => label < tokens.length),
      patches: tokens.reduce((sum, { patches }) => sum + patches, 0),
    });
    const { requests } = setokim.network;
    await setokim.dispose();
    return {
      mask: mask === null ? null : { size: [mask.width, mask.height], data: mask.data.length, score: mask.score },
      finish: usage.finish,
      same: pixels[0]?.join() === pixels[1]?.join(),
      other: pixels[0]?.join() !== pixels[2]?.join(),
      opaque: pixels[0]?.filter((_, index) => index % 4 === 3).every((alpha) => alpha === 255),
      first: shapeOf(first),
      edited: edited.image === null ? null : shapeOf(edited),
      onGenerated: onGenerated.image === null ? null : shapeOf(onGenerated),
      requests,
    };
  }, url);
  if (outcome.mask !== null) {
    expect(outcome.mask).toMatchObject({ size: [128, 128], data: 128 * 128 });
    expect(outcome.mask.score).toBeGreaterThan(0);
  }
  expect(outcome).toMatchObject({ same: true, other: true, opaque: true, requests: 0 });
  const shape = { sameSize: true, grid: [4, 4], labels: 16, owned: true, patches: 16 };
  expect(outcome.first).toEqual({ size: [32, 32], ...shape });
  expect(outcome.edited).toEqual({ size: [128, 128], ...shape });
  expect(outcome.onGenerated).toEqual({ size: [32, 32], ...shape });
});

test("stops between two tokens, and answers the next request", async ({ page }) => {
  await openLab(page);
  const outcome = await page.evaluate(async (model) => {
    const setokim = await lib.Setokim.load(model, { device: "cpu" });
    const codeOf = (promise: PromiseLike<unknown>): Promise<string> =>
      Promise.resolve(promise).then(
        () => "fulfilled",
        (error: unknown) => (error instanceof lib.SetokimError ? error.code : String(error)),
      );
    // The weights are random: the first seed with which the image has more than one token.
    const slow = { diffusion: { steps: 1000 }, temperature: 1, seed: 0, required: true };
    let tokens: Package.GeneratedTokens | null = null;
    let whole = 0;
    while ((tokens?.tokens.length ?? 0) < 2 && slow.seed < 50) {
      slow.seed += 1;
      const start = performance.now();
      ({ tokens } = await setokim.generate("a dog", slow));
      whole = performance.now() - start;
    }

    const leave = async () => {
      const left = setokim.generate("a dog", slow);
      const from = performance.now();
      for await (const event of left) if (event.type === "visual-token") break;
      const after = await setokim.generate("a cat", { diffusion: { steps: 1 }, required: true });
      return { left, after, took: performance.now() - from };
    };
    // Three times, and the quickest counts: a machine with other work to do may be late with a message, but what is never
    // stopped is never quick.
    const { left, after, took } = await leave();
    const stopped = Math.min(took, (await leave()).took, (await leave()).took);

    const abort = new AbortController();
    const running = setokim.generate("a dog", { ...slow, signal: abort.signal });
    const waiting = setokim.chat([{ role: "user", content: "hello" }], { signal: abort.signal });
    abort.abort();
    const codes = [await codeOf(left), await codeOf(running), await codeOf(waiting)];
    codes.push(await codeOf(setokim.generate("  ")));
    codes.push(await codeOf(setokim.generate("a dog", { diffusion: { steps: 0 } })));
    codes.push(await codeOf(setokim.chat([])));
    codes.push(await codeOf(setokim.chat([{ role: "user", content: "long ".repeat(500) }])));
    codes.push(await codeOf(setokim.chat([{ role: "user", content: "hello" }], { maxTokens: 2 })));
    await setokim.dispose();
    return { whole, stopped, tokens: [tokens?.tokens.length, after.tokens?.tokens.length], codes };
  }, url);
  expect(outcome.codes).toEqual([
    "aborted",
    "aborted",
    "aborted",
    "prompt-invalid",
    "setting-invalid",
    "prompt-invalid",
    "context-overflow",
    "fulfilled",
  ]);
  expect(outcome.tokens[0]).toBeGreaterThan(1);
  expect(outcome.tokens[1]).toBeGreaterThan(0);
  // The one that was left had made one token of these, and the next request came at once.
  expect(outcome.stopped).toBeLessThan(outcome.whole * 0.8);
});

test("gives the same answers in the page's own thread", async ({ page }) => {
  await openLab(page);
  const [inWorker, inPage] = await page.evaluate(async (model) => {
    const answers: string[] = [];
    for (const worker of [true, false]) {
      const setokim = await lib.Setokim.load(model, { device: "cpu", worker });
      const { text } = await setokim.chat([{ role: "user", content: "hello" }], { maxTokens: 8 });
      const { image, tokens } = await setokim.generate("a dog", { seed: 9, diffusion: { steps: 3 }, required: true });
      answers.push(`${text} ${image?.data.join()} ${tokens?.labels.join()}`);
      await setokim.dispose();
    }
    return answers;
  }, url);
  expect(inWorker).toBe(inPage);
});

test("speaks as OpenAI's API does", async ({ page }) => {
  await openLab(page);
  const outcome = await page.evaluate(
    async ({ model, base64 }) => {
      const address = "/pkg/dist/openai.js";
      const { openai } = (await import(address)) as typeof import("setokim/openai");
      const setokim = await lib.Setokim.load(model, { device: "cpu" });
      const { completions } = openai(setokim).chat;
      const content = [
        { type: "image_url", image_url: { url: `data:image/png;base64,${base64}` } },
        { type: "text", text: "what is this?" },
      ] as const;
      const params = { messages: [{ role: "user", content }], max_tokens: 8 } as const;
      const whole = await completions.create(params);
      let streamed = "";
      for await (const chunk of await completions.create({ ...params, stream: true })) {
        streamed += chunk.choices[0]?.delta.content ?? "";
      }
      await setokim.dispose();
      return { whole, streamed };
    },
    { model: url, base64: sample },
  );
  expect(outcome.streamed).toBe(outcome.whole.choices[0]?.message.content);
  expect(outcome.whole.usage.total_tokens).toBe(
    outcome.whole.usage.prompt_tokens + outcome.whole.usage.completion_tokens,
  );
  expect(outcome.whole.model).toBe("tiny-model");
});
