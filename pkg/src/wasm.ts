/** The Rust side as TypeScript sees it: what `wasm-bindgen` generates into `pkg/wasm/`, with the types it cannot say. */

import init, * as generated from "../wasm/setokim.js";
import { readFile } from "./fetching.js";
import type { Task, Usage } from "./tasks.js";
import type { DeviceReport, Dtype, Rect, Tokenization } from "./types.js";

export interface WasmFile {
  name: string;
  bytes: number;
  sha256: string;
}

export type WasmImage = { bytes: Uint8Array } | { rgba: Uint8Array; width: number; height: number };

/** A message whose images have the form `I`. */
export interface WasmMessage<I = WasmImage> {
  role: "user" | "assistant";
  parts: ({ type: "text"; text: string } | { type: "image"; image: I } | { type: "mask" })[];
}

/** What is left out has the default of the Rust side (`AnswerOptions`). */
export interface WasmOptions {
  max_tokens?: number;
  stop?: readonly string[];
  sampling?: { temperature: number; top_k: number; top_p: number; repetition_penalty: number; seed: number };
  diffusion?: { steps?: number; guidance?: number; temperature?: number; seed?: number };
  required?: boolean;
  copy_tokens?: boolean;
  composite?: boolean;
}

// --- results, as they are once `camelCased` has been over them

export interface WasmReconstruction {
  width: number;
  height: number;
  /** [height, width, 4] */
  rgba: Uint8Array;
  tokens: Tokenization;
}

export interface WasmMask {
  width: number;
  height: number;
  /** [height, width], 0 or 1 */
  bits: Uint8Array;
  score: number;
  box: [left: number, top: number, right: number, bottom: number] | null;
  point: [x: number, y: number];
  tokens: { id: number; covered: number }[];
}

export interface WasmGeneratedImage {
  width: number;
  height: number;
  /** [height, width, 4] */
  rgba: Uint8Array;
  grid: [rows: number, columns: number];
  crop: Rect;
  labels: Uint32Array;
  tokens: { copied: number | null; patches: number }[];
  removed: number[];
}

export type WasmPart =
  | { type: "text"; text: string }
  | { type: "mask"; mask: WasmMask }
  | { type: "image"; image: WasmGeneratedImage };

export type WasmEvent =
  | WasmPart
  | { type: "visual-token"; index: number; copied: number | null }
  | { type: "done"; usage: Usage };

/** What `chat` and `describe` give. */
export interface WasmAnswer {
  parts: WasmPart[];
  usage: Usage;
}

/** What `segment` gives. */
export interface WasmMaskAnswer {
  mask: WasmMask | null;
  text: string;
  usage: Usage;
}

/** What `generate` and `edit` give. */
export interface WasmImageAnswer {
  image: WasmGeneratedImage | null;
  text: string;
  usage: Usage;
}

// --- the classes

/** Pulled to stop one request between two tokens; the request then throws `aborted`. */
export interface WasmAbort {
  abort(): void;
  free(): void;
}

type OnEvent = (event: unknown) => void;

/** A model that is being put together, shard by shard. */
export interface WasmLoader {
  files(): WasmFile[];
  /** Checks length and SHA-256, then moves the tensors to the device. */
  add(name: string, bytes: Uint8Array): Promise<void>;
  /** Takes the loader with it. */
  finish(): Promise<WasmEngine>;
  free(): void;
}

/** Unknown results have keys in snake_case: `camelCased` gives them their types. */
export interface WasmEngine {
  device(): unknown;
  /** config.json as it was read. */
  config(): Record<string, unknown>;
  weights(): unknown;
  tasks(): Task[];
  tokenize(bytes: Uint8Array): Promise<unknown>;
  tokenize_rgba(rgba: Uint8Array, width: number, height: number): Promise<unknown>;
  reconstruct(bytes: Uint8Array): Promise<unknown>;
  reconstruct_rgba(rgba: Uint8Array, width: number, height: number): Promise<unknown>;
  chat(messages: WasmMessage[], options: WasmOptions, onEvent: OnEvent, abort: WasmAbort): Promise<unknown>;
  describe(image: WasmImage, options: WasmOptions, onEvent: OnEvent, abort: WasmAbort): Promise<unknown>;
  segment(image: WasmImage, phrase: string, options: WasmOptions, onEvent: OnEvent, abort: WasmAbort): Promise<unknown>;
  generate(prompt: string, options: WasmOptions, onEvent: OnEvent, abort: WasmAbort): Promise<unknown>;
  edit(
    image: WasmImage,
    instruction: string,
    options: WasmOptions,
    onEvent: OnEvent,
    abort: WasmAbort,
  ): Promise<unknown>;
  free(): void;
}

export interface WasmModule {
  /** Bytes of its linear memory now. */
  memoryBytes(): number;
  Abort: { new (): WasmAbort };
  probe(): Promise<unknown>;
  /** Spares a second test of the kernels that `probe` ran in another worker. */
  remember_probe(report: DeviceReport): void;
  Loader: { create(config: string, manifest: string, device: string, dtype?: Dtype): Promise<WasmLoader> };
}

let started: Promise<WasmModule> | undefined;

/** Instantiates the module once per realm; a failed try may be repeated. */
export function startWasm(wasmUrl?: string): Promise<WasmModule> {
  started ??= instantiate(wasmUrl).catch((error: unknown) => {
    started = undefined;
    throw error;
  });
  return started;
}

async function instantiate(wasmUrl: string | undefined): Promise<WasmModule> {
  const source = (await bytesOfFile(wasmUrl)) ?? (wasmUrl === undefined ? undefined : new URL(wasmUrl));
  const { memory } = await init(source === undefined ? undefined : { module_or_path: source });
  return { ...(generated as Omit<WasmModule, "memoryBytes">), memoryBytes: () => memory.buffer.byteLength };
}

/** In a name, or bundlers would look for what stands beside it; they know the generated code's own address. */
const here = import.meta.url;

/** Node's `fetch` reads no files. Undefined wherever the generated code can fetch by itself. */
async function bytesOfFile(wasmUrl: string | undefined): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const url = new URL(wasmUrl ?? "../wasm/setokim_bg.wasm", here);
  return url.protocol === "file:" ? ((await readFile(url)) ?? undefined) : undefined;
}
