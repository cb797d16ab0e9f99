import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Answering } from "../../../pkg/src/answering.ts";
import { SetokimError } from "../../../pkg/src/errors.ts";
import { type ChatCompletionChunk, openai } from "../../../pkg/src/openai.ts";
import type { Answer, AnswerEvent, ChatOptions, GeneratedImage, Message, Usage } from "../../../pkg/src/tasks.ts";
import { FakeImageData } from "../fake-worker.ts";

const usage: Usage = {
  promptTokens: 10,
  cachedTokens: 0,
  answerTokens: 5,
  visualTokens: 2,
  finish: "end",
  seconds: { prefill: 0, decode: 0, denoise: 0, mask: 0, render: 0 },
};

const generated: GeneratedImage = {
  image: new FakeImageData(new Uint8ClampedArray(4), 1, 1) as unknown as ImageData,
  tokens: {
    image: { width: 1, height: 1 },
    grid: [1, 1],
    crop: { x: 0, y: 0, width: 1, height: 1 },
    labels: Uint32Array.of(0),
    tokens: [{ id: 0, copied: null, patches: 1 }],
    removed: [],
  },
};

/** Answers "a cat" with a picture; notes what it was asked. */
class FakeModel {
  readonly model = { name: "fake", bytes: 0, config: {} };
  asked: { messages: readonly Message[]; options: ChatOptions } | undefined;
  stopped = false;
  finish: Usage["finish"] = "end";

  chat(messages: readonly Message[], options: ChatOptions = {}): Answering<AnswerEvent, Answer> {
    this.asked = { messages, options };
    const spent = { ...usage, finish: this.finish };
    return new Answering<AnswerEvent, Answer>(async (emit, signal) => {
      signal.addEventListener("abort", () => (this.stopped = true));
      const events: AnswerEvent[] = [
        { type: "text", text: "a " },
        { type: "text", text: "cat" },
        { type: "visual-token", index: 0, copied: null },
        { type: "image", ...generated },
        { type: "done", usage: spent },
      ];
      for (const event of events) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        emit(event);
      }
      return {
        text: "a cat",
        masks: [],
        images: [generated],
        parts: [],
        usage: spent,
        message: { role: "assistant", content: "" },
      };
    }, options.signal);
  }
}

class FakeCanvas {
  getContext(): { putImageData: () => void } {
    return { putImageData: () => undefined };
  }

  async convertToBlob(): Promise<Blob> {
    return new Blob([Uint8Array.of(1, 2, 3)]);
  }
}

let model: FakeModel;
beforeEach(() => {
  model = new FakeModel();
  vi.stubGlobal("OffscreenCanvas", FakeCanvas);
  vi.stubGlobal("location", { href: "https://example.org/chat/", origin: "https://example.org" });
});
afterEach(() => vi.unstubAllGlobals());

const png = { type: "image_url", image_url: { url: "data:image/png;base64,AQID" } };
const hello = [{ role: "user", content: "hello" }] as const;

describe("chat.completions.create", () => {
  it("answers in one piece", async () => {
    const completion = await openai(model).chat.completions.create({ messages: hello });
    expect(completion).toMatchObject({
      object: "chat.completion",
      model: "fake",
      choices: [{ index: 0, message: { role: "assistant", content: "a cat", images: [png] }, finish_reason: "stop" }],
      usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 },
    });
    expect(completion.id).not.toBe((await openai(model).chat.completions.create({ messages: hello })).id);
  });

  it("streams chunks, with the usage when it is asked for", async () => {
    const stream = await openai(model).chat.completions.create({
      messages: hello,
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
    expect(chunks.map(({ choices }) => choices[0]?.delta)).toEqual([
      { role: "assistant", content: "" },
      { content: "a " },
      { content: "cat" },
      { images: [png] },
      {},
      undefined,
    ]);
    expect(chunks.at(-2)?.choices[0]?.finish_reason).toBe("stop");
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { total_tokens: 15 } });
  });

  it("passes settings on, and says when the limit was reached", async () => {
    model.finish = "length";
    const { signal } = new AbortController();
    const completion = await openai(model).chat.completions.create(
      { messages: hello, model: "x", max_tokens: 5, temperature: 0.5, top_p: 0.9, seed: 3, stop: "." },
      { signal },
    );
    expect(completion.choices[0]?.finish_reason).toBe("length");
    expect(model.asked?.options).toEqual({ maxTokens: 5, temperature: 0.5, topP: 0.9, seed: 3, stop: ["."], signal });
    await openai(model).chat.completions.create({ messages: hello, max_tokens: null, stop: null });
    expect(model.asked?.options).toEqual({});
    await openai(model).chat.completions.create({ messages: hello, max_tokens: 5, max_completion_tokens: 6 });
    expect(model.asked?.options).toEqual({ maxTokens: 6 });
  });

  it("reads parts, pictures and its own answers, and leaves system messages out", async () => {
    await openai(model).chat.completions.create({
      messages: [
        { role: "system", content: "You are a pirate." },
        {
          role: "user",
          content: [
            { type: "image_url", image_url: { url: "beach.png" } },
            { type: "text", text: "what?" },
          ],
        },
        { role: "assistant", content: null, images: [{ type: "image_url", image_url: { url: png.image_url.url } }] },
        { role: "user", content: "and now?" },
      ],
    });
    expect(model.asked?.messages).toEqual([
      {
        role: "user",
        content: [
          { type: "image", image: "beach.png" },
          { type: "text", text: "what?" },
        ],
      },
      { role: "assistant", content: [{ type: "image", image: png.image_url.url }] },
      { role: "user", content: [{ type: "text", text: "and now?" }] },
    ]);
  });

  it("fetches no picture from another site", async () => {
    for (const url of ["https://elsewhere.org/a.png", "//elsewhere.org/a.png", "file:///a.png", "http://"]) {
      const messages = [{ role: "user", content: [{ type: "image_url", image_url: { url } }] }] as const;
      await expect(openai(model).chat.completions.create({ messages }), url).rejects.toMatchObject({
        code: "prompt-invalid",
      });
    }
    expect(model.asked).toBeUndefined();
  });

  it("is a stream of lines, each a chunk in JSON", async () => {
    const stream = await openai(model).chat.completions.create({ messages: hello, stream: true });
    const lines = (await new Response(stream.toReadableStream()).text()).split("\n");
    expect(lines.pop()).toBe("");
    const chunks = lines.map((line) => JSON.parse(line) as ChatCompletionChunk);
    expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join("")).toBe("a cat");
    expect(chunks.every(({ object }) => object === "chat.completion.chunk")).toBe(true);
    expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe("stop");
    const again = [];
    for await (const chunk of stream) again.push(chunk); // the same ones, to whoever comes late
    expect(again).toEqual(chunks);
  });

  it("stops when the stream of lines is cancelled, and fails it with the request's error", async () => {
    const reader = (await openai(model).chat.completions.create({ messages: hello, stream: true }))
      .toReadableStream()
      .getReader();
    await reader.read();
    await reader.cancel();
    expect(model.stopped).toBe(true);

    model.chat = () =>
      new Answering<AnswerEvent, Answer>(() => Promise.reject(new SetokimError("crashed", "it stopped")));
    const failing = await openai(model).chat.completions.create({ messages: hello, stream: true });
    await expect(new Response(failing.toReadableStream()).text()).rejects.toMatchObject({ code: "crashed" });
  });

  it("stops when the stream is left at its first chunk", async () => {
    for await (const chunk of await openai(model).chat.completions.create({ messages: hello, stream: true })) {
      expect(chunk.choices[0]?.delta.role).toBe("assistant");
      break;
    }
    expect(model.stopped).toBe(true);
  });

  it("stops when the stream is left or the signal says so", async () => {
    for await (const chunk of await openai(model).chat.completions.create({ messages: hello, stream: true })) {
      if (chunk.choices[0]?.delta.content === "a ") break;
    }
    expect(model.stopped).toBe(true);
  });
});
