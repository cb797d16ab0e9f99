/** The public types: shapes, units and what each number means. Those of the language model's tasks are in `tasks.ts`. */

import type { Answering } from "./answering.js";
import type { SetokimError } from "./errors.js";
import type {
  Answer,
  ChatEvent,
  ChatOptions,
  DescribeEvent,
  DescribeOptions,
  EditAnswer,
  EditEvent,
  EditOptions,
  GenerateAnswer,
  GenerateEvent,
  GenerateOptions,
  Message,
  SegmentAnswer,
  SegmentEvent,
  SegmentOptions,
  Task,
} from "./tasks.js";

/** Where the model is: the address of its folder, or the files of that folder picked by the person. */
export type ModelSource = string | URL | readonly File[];

/** `auto` takes the GPU when it is a real one, the CPU (WebAssembly SIMD) otherwise, and says why. */
export type DeviceChoice = "auto" | DeviceKind;

/**
 * The type of the language model's large weights in memory: as the model folder has them, 32-bit numbers (4 bytes each), or
 * packed in blocks of 32 that share a scale, in 8 bits (1.06 bytes) or 4 bits (0.56 bytes). The fewer bits, the less memory
 * and the less exact.
 */
export type Dtype = "stored" | "f32" | "q8_0" | "q4_0";

/** What runs the model. */
export type DeviceKind = "gpu" | "cpu";

/** The names of transformers.js for `gpu` and `cpu`. */
export type DeviceAlias = "webgpu" | "wasm";

export interface AdapterReport {
  /** Empty where the browser keeps it to itself. */
  name: string;
  /** Graphics API: `webgpu` in a page. */
  backend: string;
  /** True for an adapter that computes on the CPU (SwiftShader, llvmpipe): `auto` does not take it. */
  software: boolean;
  /** `shader-f16` is there. */
  f16: boolean;
  /** `timestamp-query` is there. */
  timestamps: boolean;
  /** Largest storage buffer that one binding may show to a shader, in bytes. */
  maxStorageBinding: number;
}

export interface DeviceReport {
  device: DeviceKind;
  /** One sentence: why this device. */
  reason: string;
  /** The WebGPU adapter, taken or not; null when the browser has none. */
  adapter: AdapterReport | null;
  /** What came of running every kernel on the adapter; null where it was not opened. */
  selfTest?: SelfTest | null;
}

/** A known-answer test of the GPU's kernels, run while loading. A GPU that fails it is not taken. */
export interface SelfTest {
  kernels: string[];
  /** Those that gave a wrong answer. */
  failed: string[];
  milliseconds: number;
}

/** The steps of `Setokim.load`, in order. `verify` and `upload` alternate, file by file, while others download. */
export type LoadStage = "download" | "verify" | "upload" | "compile" | "warmup" | "ready";

export interface LoadProgress {
  stage: LoadStage;
  /** Bytes of weights done in this stage. */
  loaded: number;
  /** Bytes of weights in all; 0 until the manifest is read. */
  total: number;
  /** The whole load, 0 to 1; never goes back. */
  fraction: number;
  /** The file that this report is about. */
  file?: string;
  /** True when that file came from the browser's own storage and not over the network. */
  cached?: boolean;
}

export interface LoadOptions {
  /** Default `"auto"`. `"webgpu"` and `"wasm"`, the names in transformers.js, are `"gpu"` and `"cpu"`. */
  device?: DeviceChoice | DeviceAlias;
  /**
   * Default `"stored"`. It changes what is held in memory and not what is downloaded: for a smaller download, convert the
   * model (`setokim convert --type`). Where it is none of the known types, `load` rejects with `setting-invalid`.
   */
  dtype?: Dtype;
  onProgress?: (progress: LoadProgress) => void;
  /** Stops the download and the load. */
  signal?: AbortSignal;
  /** A dedicated worker (default) or the calling thread. */
  worker?: boolean;
  /** Keep verified weights in the browser's storage, so that the next load needs no network. Default true. */
  cache?: boolean;
  /** One run on a small blank picture while loading, so that the first request does not pay for compiling shaders.
   *  Default: only on the GPU. */
  warmUp?: boolean;
  /** Sent with every request for the model's files, such as `{ Authorization: "Bearer …" }`. */
  headers?: Readonly<Record<string, string>>;
  /** Fetches the model's files in place of the browser's own: for signatures by file, another storage, a test. */
  fetch?: FetchLike;
  /** Where `setokim_bg.wasm` is, if a bundler or a server moved it. */
  wasmUrl?: string | URL;
  /** Where `worker.js` is, if a bundler or a server moved it; it may be on another origin. */
  workerUrl?: string | URL;
  /** Told after the engine failed and was built anew in a fresh worker, by the first request that came after. */
  onRecovery?: (recovery: Recovery) => void;
}

/** An engine was built anew after one had failed. */
export interface Recovery {
  /** What the failed engine's last request was rejected with: `crashed` or `device-lost`. */
  error: SetokimError;
  /** What runs the model now: after two failures in a row on the GPU, the CPU. */
  device: DeviceReport;
}

/** What would happen if a model were loaded now. */
export interface ProbeReport extends DeviceReport {
  /** Bytes of the model's files; null when no model was named. */
  download: number | null;
  /** Bytes of memory that it will take, estimated from above; null when no model was named. */
  memory: number | null;
  /** Whether that is at most half of the machine's memory, as far as the browser tells, and within what WebAssembly can
   *  have; null when no model was named. */
  fits: boolean | null;
  /** All this in a sentence or two for the person. */
  verdict: string;
}

/** What `fetch` is called with: an absolute address, and the headers, cache mode and signal of the request. */
export type FetchLike = (
  url: string,
  init: { headers?: Record<string, string>; cache?: RequestCache; signal?: AbortSignal },
) => Promise<Response>;

export interface ProbeOptions {
  /** The address of a model's folder, of which only the manifest is fetched. */
  model?: string | URL;
  /** As in `load`. */
  headers?: Readonly<Record<string, string>>;
  /** As in `load`. */
  fetch?: FetchLike;
  worker?: boolean;
  wasmUrl?: string | URL;
  workerUrl?: string | URL;
  signal?: AbortSignal;
}

/**
 * A picture. Text is an address to fetch (or a `data:` URL); bytes are an encoded file of whatever kind the browser shows
 * (in Node PNG, JPEG, WebP or GIF), read as the browser shows it: its orientation, its colours, its first frame.
 * The caller keeps what it passed: nothing is detached or closed.
 */
export type ImageInput =
  | string
  | URL
  | Blob
  | ArrayBuffer
  | Uint8Array
  | ImageData
  | ImageBitmap
  | HTMLCanvasElement
  | OffscreenCanvas
  | HTMLImageElement
  | VideoFrame;

export interface RequestOptions {
  /** A request that waits is taken out of the queue. One that runs is dropped; the language model stops at once. */
  signal?: AbortSignal;
}

/** One semantic token: a region of patches that belong together. */
export interface SemanticToken {
  /** The value that `labels` holds for its patches. */
  id: number;
  /** The patch that is its density peak, [row, column] in the grid. */
  center: [row: number, column: number];
  /** How many patches it covers. */
  patches: number;
  /** Density times distance to a denser peak: how clearly it stands apart. */
  score: number;
}

/** What a token most likely is, in the words that the model was trained on. */
export interface TokenName {
  /** `"something"` where a model of photographs is not sure. */
  name: string;
  /** Probability of the name, 0 to 1. */
  confidence: number;
  /** Only for things that come in several colours. */
  color: string | null;
  /** A thing, not a background. */
  isObject: boolean;
}

export interface Rect {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** What `tokenize` answers; the same fields as `setokim tokenize --json`, whose names have underscores. */
export interface Tokenization {
  /** Pixels of the picture, after its EXIF orientation. */
  image: { width: number; height: number };
  /** Patches, [rows, columns]. */
  grid: [rows: number, columns: number];
  /** The token of each patch, row by row; length rows * columns. */
  labels: Uint32Array;
  /** The part of the picture that the grid covers, in its pixels. Larger than the picture when it was padded. */
  crop: Rect;
  tokens: SemanticToken[];
  /** What each token is, in the order of `tokens`; null for a model that cannot name them. */
  names: TokenName[] | null;
  /** Whether the picture is unlike those that the model was trained on, so that mistakes are to be expected; null for a
   *  model that cannot tell. */
  unfamiliar: boolean | null;
  device: DeviceKind;
  /** Milliseconds per stage (`preprocess`, `encode`, `cluster`, `merge`, `detokenize`). */
  timingsMs: Record<string, number>;
}

/** What `reconstruct` answers: the picture rendered again from its tokens alone. */
export interface Reconstruction {
  /** As large as the model renders; it shows `tokens.crop` of the original. */
  image: ImageData;
  tokens: Tokenization;
}

export interface ModelInfo {
  /** `name` in config.json. */
  name: string;
  /** Bytes of all weights. */
  bytes: number;
  /** config.json as it was read. */
  config: Readonly<Record<string, unknown>>;
}

/** Which types the weights have. */
export interface WeightTypes {
  /** Those in the model's files, as in `["q8_0", "f32"]`. */
  stored: readonly string[];
  /** What `load` was asked to hold the language model's large weights in. */
  memory: Dtype;
  /** Bytes of all weights as they are held, on whichever device. */
  memoryBytes: number;
}

/** Requests that the library itself made since `load` finished: zero, unless a picture was given as an address. */
export interface NetworkReport {
  requests: number;
}

export interface MemoryReport {
  /** Bytes of WebAssembly memory: the weights too when the CPU runs them. It grows and never shrinks. What a GPU holds is
   *  not in it: browsers do not tell. */
  wasm: number;
}

export interface SetokimApi extends AsyncDisposable {
  /** What runs the model, and why; another one after a recovery on the CPU. */
  readonly device: DeviceReport;
  readonly model: ModelInfo;
  /** The types of the weights in the model's files and in memory, and the bytes that they take there. */
  readonly weights: WeightTypes;
  /** What this model can do. */
  readonly tasks: readonly Task[];
  readonly memory: MemoryReport;
  readonly network: NetworkReport;
  tokenize(image: ImageInput, options?: RequestOptions): Promise<Tokenization>;
  reconstruct(image: ImageInput, options?: RequestOptions): Promise<Reconstruction>;
  chat(messages: readonly Message[], options?: ChatOptions): Answering<ChatEvent, Answer>;
  describe(image: ImageInput, options?: DescribeOptions): Answering<DescribeEvent, Answer>;
  segment(image: ImageInput, phrase: string, options?: SegmentOptions): Answering<SegmentEvent, SegmentAnswer>;
  generate(prompt: string, options?: GenerateOptions): Answering<GenerateEvent, GenerateAnswer>;
  edit(image: ImageInput, instruction: string, options?: EditOptions): Answering<EditEvent, EditAnswer>;
  dispose(): Promise<void>;
}
