/** What goes to the language model and what comes from it: the package's own forms <-> those of the Rust side. */

import { withoutAliases } from "./aliases.js";
import { SetokimError } from "./errors.js";
import { imageData } from "./image.js";
import type {
  Answer,
  AnswerEvent,
  AnswerPart,
  EditOptions,
  GeneratedImage,
  Message,
  MessagePart,
  SegmentationMask,
} from "./tasks.js";
import type { ImageInput } from "./types.js";
import type {
  WasmAnswer,
  WasmEvent,
  WasmGeneratedImage,
  WasmMask,
  WasmMessage,
  WasmOptions,
  WasmPart,
} from "./wasm.js";

/** Options under the names of Rust (those of `edit` are all there are); what was not given is left to it. */
export function wasmOptions(options: EditOptions): WasmOptions {
  const { maxTokens, stop, seed, required, diffusion, copyTokens, composite } = withoutAliases(options);
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
    diffusion: given({ ...diffusion, seed }),
    required,
    copy_tokens: copyTokens,
    composite,
  });
}

/** The messages, checked. */
export function wasmMessages(messages: readonly Message[]): WasmMessage<ImageInput>[] {
  const wrong = (what: string): SetokimError => new SetokimError("prompt-invalid", what);
  // Not every caller has TypeScript to say so first.
  if (!Array.isArray(messages)) throw wrong("the messages are not a list");
  const partOf = (part: MessagePart | null | undefined): WasmMessage<ImageInput>["parts"][number] => {
    switch (part?.type) {
      case "text":
        if (typeof part.text !== "string") throw wrong("the text of a message is not text");
        return { type: "text", text: part.text };
      case "mask":
        return { type: "mask" };
      case "image":
        return { type: "image", image: part.image };
      default:
        throw wrong("a part of a message is of another type than text, image or mask");
    }
  };
  return messages.map((message: Message | null | undefined) => {
    const { role, content } = message ?? { role: undefined, content: undefined };
    if (role !== "user" && role !== "assistant") throw wrong("a message has another role than user or assistant");
    if (typeof content === "string") return { role, parts: [{ type: "text", text: content }] };
    if (!Array.isArray(content)) throw wrong("the content of a message is neither text nor a list of parts");
    return { role, parts: content.map(partOf) };
  });
}

/** The messages with each of their images in another form; all images are begun at once. */
export function withImages<From, To>(
  messages: readonly WasmMessage<From>[],
  convert: (image: From) => To | Promise<To>,
): Promise<WasmMessage<To>[]> {
  const convertPart = async (part: WasmMessage<From>["parts"][number]): Promise<WasmMessage<To>["parts"][number]> =>
    part.type === "image" ? { type: "image", image: await convert(part.image) } : part;
  return Promise.all(
    messages.map(async ({ role, parts }) => ({ role, parts: await Promise.all(parts.map(convertPart)) })),
  );
}

export function eventFrom(event: WasmEvent): AnswerEvent {
  return event.type === "mask" || event.type === "image" ? partFrom(event) : event;
}

export function answerFrom(answer: WasmAnswer): Answer {
  const parts = answer.parts.map(partFrom);
  return {
    text: parts.map((part) => (part.type === "text" ? part.text : "")).join(""),
    masks: parts.flatMap((part) => (part.type === "mask" ? [part.mask] : [])),
    images: parts.flatMap((part) => (part.type === "image" ? [{ image: part.image, tokens: part.tokens }] : [])),
    parts,
    usage: answer.usage,
    message: { role: "assistant", content: parts.map(messagePart) },
  };
}

function messagePart(part: AnswerPart): MessagePart {
  if (part.type === "image") return { type: "image", image: part.image };
  return part.type === "mask" ? { type: "mask" } : part;
}

function partFrom(part: WasmPart): AnswerPart {
  if (part.type === "image") return { type: "image", ...generatedImageFrom(part.image) };
  return part.type === "mask" ? { type: "mask", mask: maskFrom(part.mask) } : part;
}

function maskFrom({ bits, ...mask }: WasmMask): SegmentationMask {
  return { ...mask, data: bits };
}

function generatedImageFrom(generated: WasmGeneratedImage): GeneratedImage {
  const { width, height, rgba, grid, crop, labels, tokens, removed } = generated;
  return {
    image: imageData(rgba, width, height),
    tokens: {
      image: { width, height },
      grid,
      crop,
      labels,
      tokens: tokens.map(({ copied, patches }, id) => ({ id, copied, patches })),
      removed,
    },
  };
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Without the entries that are undefined: to Rust, a key that is there has a value. */
function given<T extends object>(entries: T): Given<T> {
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined)) as Given<T>;
}
