/** What goes to the language model and what comes from it: the package's own forms <-> those of the Rust side. */

import { SetokimError } from "./errors.js";
import type {
  Answer,
  AnswerEvent,
  AnswerPart,
  Drawing,
  EditOptions,
  FoundMask,
  Message,
  MessagePart,
  Usage,
} from "./tasks.js";
import type { ImageInput } from "./types.js";
import type { WasmAnswer, WasmDrawing, WasmEvent, WasmMask, WasmMessage, WasmOptions, WasmPart, WasmUsage } from "./wasm.js";

/** Options in the words of Rust (those of `edit` are all there are); what was not given is left to it. */
export function wasmOptions(options: EditOptions): WasmOptions {
  const { maxTokens, stop, seed, insist, steps, guidance, noise, pointers, paste } = options;
  return given({
    max_tokens: maxTokens,
    stop: stop === undefined ? undefined : stopTexts(stop),
    sampling: {
      temperature: options.temperature ?? 0,
      top_k: options.topK ?? 0,
      top_p: options.topP ?? 1,
      repetition_penalty: options.repetitionPenalty ?? 1,
      seed: seed ?? 0,
    },
    draw: given({ steps, guidance, temperature: noise, seed }),
    insist,
    pointers,
    paste,
  });
}

function stopTexts(stop: unknown): string[] {
  if (Array.isArray(stop) && stop.every((text) => typeof text === "string")) return [...stop];
  throw new SetokimError("setting-invalid", "`stop` is not a list of texts");
}

/** The messages, and apart from them the pictures that take their places. */
export function wasmMessages(messages: readonly Message[]): { messages: WasmMessage[]; images: ImageInput[] } {
  const images: ImageInput[] = [];
  const wrong = (what: string): SetokimError => new SetokimError("prompt-invalid", what);
  // Not every caller has TypeScript to say so first.
  if (!Array.isArray(messages)) throw wrong("the messages are not a list");
  const partOf = (part: MessagePart | null | undefined): WasmMessage["parts"][number] => {
    switch (part?.type) {
      case "text":
        if (typeof part.text !== "string") throw wrong("the text of a message is not text");
        return { type: "text", text: part.text };
      case "mask":
        return { type: "mask" };
      case "image":
        images.push(part.image);
        return { type: "image" };
      default:
        throw wrong("a part of a message is of another type than text, image or mask");
    }
  };
  return {
    messages: messages.map((message: Message | null | undefined) => {
      const { role, content } = message ?? { role: undefined, content: undefined };
      if (role !== "user" && role !== "assistant") throw wrong("a message has another role than user or assistant");
      if (typeof content === "string") return { role, parts: [{ type: "text", text: content }] };
      if (!Array.isArray(content)) throw wrong("the content of a message is neither text nor a list of parts");
      return { role, parts: content.map(partOf) };
    }),
    images,
  };
}

export function eventFrom(event: WasmEvent): AnswerEvent {
  if (event.type === "visual-token") return event;
  return event.type === "done" ? { type: "done", usage: usageFrom(event.usage) } : partFrom(event);
}

export function answerFrom(answer: WasmAnswer): Answer {
  const parts = answer.parts.map(partFrom);
  return {
    text: parts.map((part) => (part.type === "text" ? part.text : "")).join(""),
    masks: parts.flatMap((part) => (part.type === "mask" ? [part.mask] : [])),
    images: parts.flatMap((part) => (part.type === "image" ? [part.image] : [])),
    parts,
    usage: usageFrom(answer.usage),
    message: { role: "assistant", content: parts.map(messagePart) },
  };
}

function messagePart(part: AnswerPart): MessagePart {
  if (part.type === "image") return { type: "image", image: part.image.image };
  return part.type === "mask" ? { type: "mask" } : part;
}

function partFrom(part: WasmPart): AnswerPart {
  if (part.type === "image") return { type: "image", image: drawingFrom(part.image) };
  return part.type === "mask" ? { type: "mask", mask: maskFrom(part.mask) } : part;
}

function maskFrom({ width, height, bits, score, tokens }: WasmMask): FoundMask {
  return { width, height, data: bits, score, tokens };
}

function drawingFrom({ width, height, rgba, grid, crop, labels, tokens, removed }: WasmDrawing): Drawing {
  return {
    image: new ImageData(Uint8ClampedArray.from(rgba), width, height),
    grid,
    crop,
    labels,
    tokens: tokens.map(({ kept, patches }, id) => ({ id, kept, patches })),
    removed,
  };
}

function usageFrom(usage: WasmUsage): Usage {
  return {
    promptTokens: usage.prompt_tokens,
    rememberedTokens: usage.remembered_tokens,
    answerTokens: usage.answer_tokens,
    visualTokens: usage.visual_tokens,
    finish: usage.finish,
    seconds: usage.seconds,
  };
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Without the entries that are undefined: to Rust, a key that is there has a value. */
function given<T extends object>(entries: T): Given<T> {
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined)) as Given<T>;
}
