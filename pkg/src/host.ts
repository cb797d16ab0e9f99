/** What runs a model, here or in a worker: the face that `Setokim` talks to. */

import type { Picture } from "./image.js";
import type { DeviceChoice, DeviceReport, LoadProgress, ModelInfo, Tokenization } from "./types.js";
import type { WasmReconstruction } from "./wasm.js";

/** What crosses to the worker to load a model: absolute addresses, no functions. */
export interface LoadRequest {
  source: string | readonly File[];
  device: DeviceChoice;
  cache: boolean;
  warmUp?: boolean | undefined;
  wasmUrl?: string | undefined;
}

export interface LoadReply {
  device: DeviceReport;
  model: ModelInfo;
}

export interface Host {
  probe(wasmUrl?: string): Promise<DeviceReport>;
  load(request: LoadRequest, onProgress?: (progress: LoadProgress) => void, signal?: AbortSignal): Promise<LoadReply>;
  tokenize(picture: Picture): Promise<Tokenization>;
  reconstruct(picture: Picture): Promise<WasmReconstruction>;
  /** Network requests seen in the host's own thread since the model was loaded. */
  requests(): number;
  dispose(): Promise<void>;
}
