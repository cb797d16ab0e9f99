/**
 * The shape of OpenAI's `chat.completions` over a model in the page, for chat interfaces that are written for it. Types are
 * structural: those of the `openai` package fit. It is the subpath `setokim/openai` of the package.
 */

import { type Answering, streamOf } from "./answering.js";
import { asSetokimError, SetokimError } from "./errors.js";
import { chatMessages, chatOptions, checkParams } from "./openai-params.js";
import type { Answer, ChatEvent, ChatOptions, GeneratedImage, Message, Usage } from "./tasks.js";
import type { SetokimApi } from "./types.js";

export interface ImageUrlPart {
  type: "image_url";
  /** `data:`, `blob:`, or an address of the page's own origin. A `detail` changes nothing: there is one size. */
  image_url: { url: string };
}

export interface ChatCompletionMessage {
  /** `system`, `developer` and `tool` messages are refused: the models were not trained with any. */
  role: "user" | "assistant";
  content:
    | string
    | readonly ({ type: "text"; text: string } | { type: "refusal"; refusal: string } | ImageUrlPart)[]
    | null;
  /** Images that the model made, in messages that it answered. */
  images?: readonly ImageUrlPart[];
}

export interface ChatCompletionParams {
  messages: readonly ChatCompletionMessage[];
  /** There is one model: the name is not looked at. */
  model?: string;
  stream?: boolean | null;
  /** With `include_usage`, one more chunk at the end has no choices but the usage. */
  stream_options?: { include_usage?: boolean } | null;
  max_tokens?: number | null;
  /** The newer name of `max_tokens`, which counts where both are given. */
  max_completion_tokens?: number | null;
  /** Default 0, unlike OpenAI's. */
  temperature?: number | null;
  top_p?: number | null;
  /** The same seed gives the same answer. */
  seed?: number | null;
  stop?: string | readonly string[] | null;
  /** One answer; and no tools, no JSON mode, no penalties, no probabilities: other values are refused by name. */
  n?: 1 | null;
  response_format?: { type: "text" } | null;
  tools?: readonly never[] | null;
  tool_choice?: "none" | "auto" | null;
  frequency_penalty?: 0 | null;
  presence_penalty?: 0 | null;
  logprobs?: false | null;
  top_logprobs?: 0 | null;
  logit_bias?: Record<string, never> | null;
  modalities?: readonly ["text"] | null;
  store?: false | null;
  /** These change nothing in an answer that is made in the page. */
  user?: string;
  metadata?: unknown;
  service_tier?: string | null;
  safety_identifier?: string | null;
  prompt_cache_key?: string | null;
  parallel_tool_calls?: boolean;
}

export type FinishReason = "stop" | "length";

export interface CompletionUsage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

export interface ChatCompletion {
  id: string;
  object: "chat.completion";
  /** Seconds since 1970. */
  created: number;
  model: string;
  choices: {
    index: 0;
    /** `images` only when the model made some. Masks have no place here: `Setokim.chat` gives them. */
    message: { role: "assistant"; content: string; refusal: null; images?: ImageUrlPart[] };
    finish_reason: FinishReason;
    logprobs: null;
  }[];
  usage: CompletionUsage;
}

export interface ChatCompletionChunk {
  id: string;
  object: "chat.completion.chunk";
  created: number;
  model: string;
  choices: {
    index: 0;
    delta: { role?: "assistant"; content?: string; images?: ImageUrlPart[] };
    finish_reason: FinishReason | null;
    logprobs: null;
  }[];
  usage?: CompletionUsage | null;
}

/** Chunks as they come. Leaving a loop over them aborts the request. */
export interface ChatCompletionStream extends AsyncIterable<ChatCompletionChunk> {
  /**
   * The chunks as UTF-8, one JSON text a line: what `ChatCompletionStream.fromReadableStream` of the `openai` package reads.
   * Cancelling it aborts the request, and what the request fails with is what the stream fails with.
   */
  toReadableStream(): ReadableStream<Uint8Array>;
}

export interface CompletionRequestOptions {
  signal?: AbortSignal | null;
}

export interface ChatCompletions {
  create(
    params: ChatCompletionParams & { stream: true },
    options?: CompletionRequestOptions,
  ): Promise<ChatCompletionStream>;
  create(
    params: ChatCompletionParams & { stream?: false | null },
    options?: CompletionRequestOptions,
  ): Promise<ChatCompletion>;
}

/** A client whose `chat.completions.create` asks `model`. Errors are the package's own (`SetokimError`). */
export function openai(model: Pick<SetokimApi, "chat" | "model">): { chat: { completions: ChatCompletions } } {
  async function create(
    params: ChatCompletionParams,
    options: CompletionRequestOptions = {},
  ): Promise<ChatCompletion | ChatCompletionStream> {
    checkParams(params, options);
    const head = { id: nextId(), created: Math.floor(Date.now() / 1000), model: model.model.name };
    const messages = chatMessages(params.messages);
    const settings = chatOptions(params, options);
    return params.stream === true
      ? new ChunkStream(head, model.chat(messages, settings), params.stream_options?.include_usage === true)
      : completed(model, head, messages, settings);
  }
  return { chat: { completions: { create: create as ChatCompletions["create"] } } };
}

interface Head {
  id: string;
  created: number;
  model: string;
}

async function completed(
  model: Pick<SetokimApi, "chat">,
  head: Head,
  messages: readonly Message[],
  options: ChatOptions,
): Promise<ChatCompletion> {
  const { text, images, usage } = await model.chat(messages, options);
  const urls = await Promise.all(images.map(imageUrl));
  const generated = urls.length === 0 ? {} : { images: urls };
  return {
    ...head,
    object: "chat.completion",
    choices: [
      {
        index: 0,
        message: { role: "assistant", content: text, refusal: null, ...generated },
        finish_reason: finishReason(usage),
        logprobs: null,
      },
    ],
    usage: completionUsage(usage),
  };
}

class ChunkStream implements ChatCompletionStream {
  readonly #head: Head;
  readonly #answering: Answering<ChatEvent, Answer>;
  readonly #includeUsage: boolean;

  constructor(head: Head, answering: Answering<ChatEvent, Answer>, includeUsage: boolean) {
    this.#head = head;
    this.#answering = answering;
    this.#includeUsage = includeUsage;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ChatCompletionChunk, void> {
    try {
      yield this.#chunk({ role: "assistant", content: "" });
      for await (const event of this.#answering) {
        if (event.type === "text") yield this.#chunk({ content: event.text });
        if (event.type === "image") yield this.#chunk({ images: [await imageUrl(event)] });
        if (event.type !== "done") continue;
        yield this.#chunk({}, finishReason(event.usage));
        if (!this.#includeUsage) continue;
        yield { ...this.#head, object: "chat.completion.chunk", choices: [], usage: completionUsage(event.usage) };
      }
    } finally {
      this.#answering.abort(); // a loop that is left at the first chunk has not begun to read the answer
    }
  }

  toReadableStream(): ReadableStream<Uint8Array> {
    return streamOf(lines(this), (reason) => this.#answering.abort(reason));
  }

  #chunk(
    delta: ChatCompletionChunk["choices"][number]["delta"],
    finish_reason: FinishReason | null = null,
  ): ChatCompletionChunk {
    return {
      ...this.#head,
      object: "chat.completion.chunk",
      choices: [{ index: 0, delta, finish_reason, logprobs: null }],
    };
  }
}

async function* lines(values: AsyncIterable<unknown>): AsyncGenerator<Uint8Array, void> {
  const encoder = new TextEncoder();
  for await (const value of values) yield encoder.encode(`${JSON.stringify(value)}\n`);
}

async function imageUrl({ image }: Pick<GeneratedImage, "image">): Promise<ImageUrlPart> {
  if (typeof OffscreenCanvas === "undefined") {
    throw new SetokimError("unsupported", "the image cannot be made a PNG: there is no canvas here", {
      remedy: "Ask with `Setokim.chat`, which gives the image's pixels.",
    });
  }
  try {
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d");
    if (context === null) throw new SetokimError("internal", "the browser gives no 2-D canvas");
    context.putImageData(image, 0, 0);
    const png = new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
    const binary = Array.from(png, (byte) => String.fromCharCode(byte)).join("");
    return { type: "image_url", image_url: { url: `data:image/png;base64,${btoa(binary)}` } };
  } catch (error) {
    throw asSetokimError(error);
  }
}

function finishReason({ finish }: Usage): FinishReason {
  return finish === "length" ? "length" : "stop";
}

function completionUsage({ promptTokens, answerTokens }: Usage): CompletionUsage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: answerTokens,
    total_tokens: promptTokens + answerTokens,
  };
}

let answers = 0;

function nextId(): string {
  answers += 1;
  return `chatcmpl-${answers}`;
}
