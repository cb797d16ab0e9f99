/** What runs a model, here or in a worker: the face that `Setokim` talks to. */

import type { SetokimError } from "./errors.js";
import type { RequestImage } from "./image.js";
import type { AnswerTask, Task } from "./tasks.js";
import type { DeviceChoice, DeviceReport, Dtype, LoadProgress, ModelInfo, Tokenization, WeightTypes } from "./types.js";
import type { WasmAnswer, WasmEvent, WasmMessage, WasmOptions, WasmReconstruction } from "./wasm.js";

/** What crosses to the worker to load a model: absolute addresses, no functions. */
export interface LoadRequest {
  source: string | readonly File[];
  device: DeviceChoice;
  dtype: Dtype;
  cache: boolean;
  warmUp?: boolean | undefined;
  wasmUrl?: string | undefined;
  /** Take what is stored under this address before asking the network: an engine is being rebuilt, not updated. */
  storedFirst?: boolean | undefined;
  /** What `Setokim.probe` found out in this page. */
  earlierProbe?: DeviceReport | undefined;
}

export interface LoadReply {
  device: DeviceReport;
  model: ModelInfo;
  weights: WeightTypes;
  tasks: Task[];
}

/** What the language model is asked: a conversation, or a prompt about at most one image. */
export type Question =
  | { task: "chat"; messages: WasmMessage[] }
  | { task: Exclude<AnswerTask, "chat">; prompt: string };

export type AnswerRequest = Question & { images: RequestImage[]; options: WasmOptions };

export interface Host {
  probe(wasmUrl?: string): Promise<DeviceReport>;
  load(request: LoadRequest, onProgress?: (progress: LoadProgress) => void, signal?: AbortSignal): Promise<LoadReply>;
  tokenize(image: RequestImage): Promise<Tokenization>;
  reconstruct(image: RequestImage): Promise<WasmReconstruction>;
  /** `signal` stops it between two tokens. */
  answer(request: AnswerRequest, onEvent: (event: WasmEvent) => void, signal: AbortSignal): Promise<WasmAnswer>;
  /** Network requests seen in the host's own thread since the model was loaded. */
  requests(): number;
  /** Bytes of WebAssembly memory after the last call; 0 before the first. */
  memory(): number;
  /** Why this host can do no more work: the engine crashed, the worker died, the GPU was lost. */
  readonly failure: SetokimError | undefined;
  dispose(): Promise<void>;
}
