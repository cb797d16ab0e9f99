/** The Rust side as TypeScript sees it: what `wasm-bindgen` generates into `pkg/wasm/`, with the types it cannot say. */

import init, * as generated from "../wasm/setokim.js";
import type { Task } from "./tasks.js";
import type { DeviceReport, Dtype, Rect, Tokenization, WeightTypes } from "./types.js";

export interface WasmFile {
  name: string;
  bytes: number;
  sha256: string;
}

export interface WasmReconstruction {
  width: number;
  height: number;
  /** [height, width, 4] */
  rgba: Uint8Array;
  tokens: Tokenization;
}

export type WasmPicture = { bytes: Uint8Array } | { rgba: Uint8Array; width: number; height: number };

/** Pictures take the places of the `image` parts in order, over the whole conversation. */
export interface WasmMessage {
  role: "user" | "assistant";
  parts: ({ type: "text"; text: string } | { type: "image" } | { type: "mask" })[];
}

/** What is left out is as in Rust (`generate.rs`). */
export interface WasmOptions {
  max_tokens?: number;
  stop?: readonly string[];
  sampling?: { temperature: number; top_k: number; top_p: number; repetition_penalty: number; seed: number };
  draw?: { steps?: number; guidance?: number; temperature?: number; seed?: number };
  insist?: boolean;
  pointers?: boolean;
  paste?: boolean;
}

export interface WasmMask {
  width: number;
  height: number;
  /** [height, width], 0 or 1 */
  bits: Uint8Array;
  score: number;
  tokens: { id: number; covered: number }[];
}

export interface WasmDrawing {
  width: number;
  height: number;
  /** [height, width, 4] */
  rgba: Uint8Array;
  grid: [rows: number, columns: number];
  crop: Rect;
  labels: Uint32Array;
  tokens: { kept: number | null; patches: number }[];
  removed: number[];
}

export interface WasmUsage {
  prompt_tokens: number;
  remembered_tokens: number;
  answer_tokens: number;
  visual_tokens: number;
  finish: "end" | "length" | "stop";
  seconds: { prefill: number; decode: number; draw: number; mask: number; paint: number };
}

export type WasmPart =
  | { type: "text"; text: string }
  | { type: "mask"; mask: WasmMask }
  | { type: "image"; image: WasmDrawing };

export type WasmEvent =
  | WasmPart
  | { type: "visual-token"; index: number; kept: number | null }
  | { type: "done"; usage: WasmUsage };

export interface WasmAnswer {
  parts: WasmPart[];
  usage: WasmUsage;
}

export interface WasmSegment {
  found: WasmMask | null;
  said: string;
  usage: WasmUsage;
}

/** What `generate` and `edit` give. */
export interface WasmDrawn {
  image: WasmDrawing | null;
  said: string;
  usage: WasmUsage;
}

/** Pulled to stop one request between two tokens; the request then throws `aborted`. */
export interface WasmAbort {
  abort(): void;
  free(): void;
}

type OnEvent = (event: WasmEvent) => void;

/** A model that is being put together, shard by shard. */
export interface WasmLoader {
  files(): WasmFile[];
  /** Checks length and SHA-256, then moves the tensors to the device. */
  add(name: string, bytes: Uint8Array): Promise<void>;
  /** Takes the loader with it. */
  finish(): Promise<WasmEngine>;
  free(): void;
}

export interface WasmEngine {
  device(): DeviceReport;
  config(): Record<string, unknown>;
  weights(): WeightTypes;
  tasks(): Task[];
  tokenize(bytes: Uint8Array): Promise<Tokenization>;
  tokenize_rgba(rgba: Uint8Array, width: number, height: number): Promise<Tokenization>;
  reconstruct(bytes: Uint8Array): Promise<WasmReconstruction>;
  reconstruct_rgba(rgba: Uint8Array, width: number, height: number): Promise<WasmReconstruction>;
  chat(
    messages: WasmMessage[],
    pictures: WasmPicture[],
    options: WasmOptions,
    onEvent: OnEvent,
    abort: WasmAbort,
  ): Promise<WasmAnswer>;
  segment(
    picture: WasmPicture,
    phrase: string,
    options: WasmOptions,
    onEvent: OnEvent,
    abort: WasmAbort,
  ): Promise<WasmSegment>;
  generate(prompt: string, options: WasmOptions, onEvent: OnEvent, abort: WasmAbort): Promise<WasmDrawn>;
  edit(
    picture: WasmPicture,
    instruction: string,
    options: WasmOptions,
    onEvent: OnEvent,
    abort: WasmAbort,
  ): Promise<WasmDrawn>;
  free(): void;
}

export interface WasmModule {
  /** Bytes of its linear memory now. */
  memoryBytes(): number;
  Abort: { new (): WasmAbort };
  probe(): Promise<DeviceReport>;
  Loader: { create(config: string, manifest: string, device: string, dtype?: Dtype): Promise<WasmLoader> };
}

let started: Promise<WasmModule> | undefined;

/** Instantiates the module once per realm; a failed try may be repeated. */
export function startWasm(wasmUrl?: string): Promise<WasmModule> {
  started ??= init(wasmUrl === undefined ? undefined : { module_or_path: new URL(wasmUrl) }).then(
    ({ memory }) => ({ ...(generated as Omit<WasmModule, "memoryBytes">), memoryBytes: () => memory.buffer.byteLength }),
    (error: unknown) => {
      started = undefined;
      throw error;
    },
  );
  return started;
}
