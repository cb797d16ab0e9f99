/** What runs a model, here or in a worker: the face that `Setokim` talks to. */

import type { SetokimError } from "./errors.js";
import type { Fetch } from "./fetching.js";
import type { RequestImage } from "./image.js";
import type { Task } from "./tasks.js";
import type { DeviceChoice, DeviceReport, Dtype, LoadProgress, ModelInfo, Tokenization, WeightTypes } from "./types.js";
import type { WasmAnswer, WasmEvent, WasmMessage, WasmOptions, WasmReconstruction } from "./wasm.js";

/** What a model's folder is fetched with. */
export interface FetchRequest {
  /** The address as the caller wrote it. */
  asked?: string | undefined;
  headers?: Readonly<Record<string, string>> | undefined;
  /** The caller's own; on its way to a worker it is a port to it. */
  fetch?: Fetch | MessagePort | undefined;
}

/** What is needed to load a model: absolute addresses. */
export interface LoadRequest extends FetchRequest {
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

/** What the language model is asked: a conversation, a prompt, an image, or a prompt about one. */
export type Question =
  | { task: "chat"; messages: WasmMessage<RequestImage>[] }
  | { task: "generate"; prompt: string }
  | { task: "describe"; image: RequestImage }
  | { task: "segment" | "edit"; image: RequestImage; prompt: string };

export type AnswerRequest = Question & { options: WasmOptions };

/** All images of a request. */
export function imagesOf(question: Question): RequestImage[] {
  if (question.task === "generate") return [];
  if (question.task !== "chat") return [question.image];
  return question.messages.flatMap(({ parts }) => parts.flatMap((part) => (part.type === "image" ? [part.image] : [])));
}

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
