/** The Rust side as TypeScript sees it: what `wasm-bindgen` generates into `pkg/wasm/`, with the types it cannot say. */

import init, * as generated from "../wasm/setokim.js";
import type { DeviceReport, Tokenization } from "./types.js";

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
  tokenize(bytes: Uint8Array): Promise<Tokenization>;
  tokenize_rgba(rgba: Uint8Array, width: number, height: number): Promise<Tokenization>;
  reconstruct(bytes: Uint8Array): Promise<WasmReconstruction>;
  reconstruct_rgba(rgba: Uint8Array, width: number, height: number): Promise<WasmReconstruction>;
  free(): void;
}

export interface WasmModule {
  probe(): Promise<DeviceReport>;
  Loader: { create(config: string, manifest: string, device: string): Promise<WasmLoader> };
}

let started: Promise<WasmModule> | undefined;

/** Instantiates the module once per realm; a failed try may be repeated. */
export function startWasm(wasmUrl?: string): Promise<WasmModule> {
  started ??= init(wasmUrl === undefined ? undefined : { module_or_path: new URL(wasmUrl) }).then(
    () => generated as WasmModule,
    (error: unknown) => {
      started = undefined;
      throw error;
    },
  );
  return started;
}
