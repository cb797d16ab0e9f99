import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Answering } from "../../../pkg/src/answering.ts";
import { SetokimError } from "../../../pkg/src/errors.ts";
import {
  type ChatCompletionChunk,
  type ChatCompletionMessage,
  type ChatCompletionParams,
  type CompletionRequestOptions,
  openai,
} from "../../../pkg/src/openai.ts";
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

  it("reads parts, pictures and its own answers", async () => {
    await openai(model).chat.completions.create({
      messages: [
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

  it("refuses by name what it does not do", async () => {
    const refused: Record<string, unknown> = {
      n: 2,
      response_format: { type: "json_object" },
      tools: [{ type: "function", function: { name: "f" } }],
      tool_choice: "required",
      functions: [{ name: "f" }],
      function_call: { name: "f" },
      logprobs: true,
      top_logprobs: 3,
      logit_bias: { 5: -100 },
      frequency_penalty: 0.5,
      presence_penalty: -1,
      modalities: ["text", "audio"],
      audio: { voice: "a" },
      prediction: { type: "content", content: "x" },
      reasoning_effort: "high",
      verbosity: "low",
      web_search_options: {},
      store: true,
      stream: "yes",
      temperature: "hot",
      top_p: "x",
      seed: -1,
      stop: 5,
      max_tokens: 1.5,
      max_completion_tokens: -1,
      stream_options: 5,
      frobnicate: 1,
    };
    for (const [name, value] of Object.entries(refused)) {
      const params = { messages: hello, [name]: value } as unknown as ChatCompletionParams & { stream?: false };
      await expect(openai(model).chat.completions.create(params), name).rejects.toMatchObject({
        name: "SetokimError",
        code: "setting-invalid",
        message: expect.stringContaining(`\`${name}\``),
      });
    }
    const streamed = { stream: true, stream_options: { include_everything: true } } as { stream: true };
    await expect(openai(model).chat.completions.create({ messages: hello, ...streamed })).rejects.toMatchObject({
      code: "setting-invalid",
    });
    const timed = { timeout: 5 } as CompletionRequestOptions;
    await expect(openai(model).chat.completions.create({ messages: hello }, timed)).rejects.toMatchObject({
      message: expect.stringContaining("`timeout`"),
    });
    expect(model.asked).toBeUndefined();
  });

  it("takes what asks for nothing else than what it does", async () => {
    const nothing: Record<string, unknown> = {
      model: "gpt-5",
      n: 1,
      response_format: { type: "text" },
      tools: [],
      tool_choice: "auto",
      logprobs: false,
      frequency_penalty: 0,
      presence_penalty: null,
      logit_bias: {},
      modalities: ["text"],
      store: false,
      user: "u-1",
      metadata: { a: "b" },
      service_tier: "auto",
      seed: undefined,
      audio: null,
    };
    const params = { messages: hello, ...nothing } as unknown as ChatCompletionParams & { stream?: false };
    await openai(model).chat.completions.create(params);
    expect(model.asked?.options).toEqual({});
  });

  it("refuses messages that it does not understand, none dropped", async () => {
    const png = "data:image/png;base64,AQID";
    const user = (content: unknown): unknown => [{ role: "user", content }];
    const wrong: [messages: unknown, code: string, word: string][] = [
      [undefined, "prompt-invalid", "messages"],
      ["hello", "prompt-invalid", "messages"],
      [[null], "prompt-invalid", "role"],
      [[{ role: "system", content: "You are a pirate." }, ...hello], "unsupported", "system"],
      [[{ role: "developer", content: "x" }, ...hello], "unsupported", "developer"],
      [[...hello, { role: "tool", content: "5", tool_call_id: "a" }], "prompt-invalid", "tool"],
      [[...hello, { role: "assistant", content: null, tool_calls: [{ id: "a" }] }], "prompt-invalid", "tool_calls"],
      [[{ role: "user", content: "hello", name: "ada" }], "prompt-invalid", "name"],
      [user(null), "prompt-invalid", "content"],
      [user([{ type: "input_audio", input_audio: {} }]), "prompt-invalid", "input_audio"],
      [user([{ type: "file", file: {} }]), "prompt-invalid", "file"],
      [user([{ type: "image_url", image_url: png }]), "prompt-invalid", "image_url"],
      [user([{ type: "image_url" }]), "prompt-invalid", "image_url"],
      [user([{ type: "text" }]), "prompt-invalid", "text"],
      [user([null]), "prompt-invalid", "type"],
      [[{ role: "user", content: "x", images: 5 }], "prompt-invalid", "images"],
    ];
    for (const [messages, code, word] of wrong) {
      const params = { messages } as unknown as ChatCompletionParams & { stream?: false };
      await expect(openai(model).chat.completions.create(params), word).rejects.toMatchObject({
        name: "SetokimError",
        code,
        message: expect.stringContaining(word),
      });
    }
    for (const params of [undefined, null, 5, []]) {
      const none = params as unknown as ChatCompletionParams & { stream?: false };
      await expect(openai(model).chat.completions.create(none)).rejects.toMatchObject({ code: "setting-invalid" });
    }
    expect(model.asked).toBeUndefined();
  });

  it("takes an answer of OpenAI's own as a turn, a refusal too", async () => {
    const earlier = { role: "assistant", content: "hi", refusal: null, annotations: [], audio: null, tool_calls: [] };
    const declined = { role: "assistant", content: [{ type: "refusal", refusal: "no" }] };
    const messages = [...hello, earlier, ...hello, declined, ...hello] as unknown as ChatCompletionMessage[];
    await openai(model).chat.completions.create({ messages });
    expect(model.asked?.messages.map(({ content }) => content)).toEqual([
      [{ type: "text", text: "hello" }],
      [{ type: "text", text: "hi" }],
      [{ type: "text", text: "hello" }],
      [{ type: "text", text: "no" }],
      [{ type: "text", text: "hello" }],
    ]);
  });

  it("says that without a canvas no image becomes a PNG", async () => {
    vi.stubGlobal("OffscreenCanvas", undefined);
    await expect(openai(model).chat.completions.create({ messages: hello })).rejects.toMatchObject({
      code: "unsupported",
      remedy: expect.stringContaining("Setokim.chat"),
    });
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
