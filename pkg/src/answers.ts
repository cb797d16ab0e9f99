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
    stop: stop === undefined ? undefined : [...stop],
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

/** The messages, and apart from them the pictures that take their places. */
export function wasmMessages(messages: readonly Message[]): { messages: WasmMessage[]; images: ImageInput[] } {
  const images: ImageInput[] = [];
  const partOf = (part: MessagePart): WasmMessage["parts"][number] => {
    switch (part.type) {
      case "text":
        return { type: "text", text: part.text };
      case "mask":
        return { type: "mask" };
      case "image":
        images.push(part.image);
        return { type: "image" };
      default:
        throw new SetokimError("prompt-invalid", `this is not a part of a message: ${JSON.stringify(part)}`);
    }
  };
  return {
    messages: messages.map(({ role, content }) => ({
      role,
      parts: typeof content === "string" ? [{ type: "text", text: content }] : content.map(partOf),
    })),
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
