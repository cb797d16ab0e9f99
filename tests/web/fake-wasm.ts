/** Stands in for the WebAssembly module in unit tests: the same contract, no model behind it. */

import { createHash } from "node:crypto";
import type { Task } from "../../pkg/src/tasks.ts";
import type { DeviceReport, Dtype, Tokenization } from "../../pkg/src/types.ts";
import type {
  WasmAbort,
  WasmEngine,
  WasmFile,
  WasmGeneratedImage,
  WasmImage,
  WasmLoader,
  WasmMask,
  WasmMessage,
  WasmModule,
  WasmOptions,
} from "../../pkg/src/wasm.ts";

export const report: DeviceReport = {
  device: "cpu",
  reason: "the browser has no WebGPU",
  adapter: null,
};

/** Throws as the Rust layer does: a plain error with `code` and `remedy`. */
export function rustError(code: string, message: string, remedy = "Do it differently."): Error {
  return Object.assign(new Error(message), { name: "SetokimError", code, remedy });
}

/** A picture of two halves: the left is token 0, the right token 1. */
export function halves(width = 8, height = 8): Tokenization {
  const labels = Uint32Array.from({ length: 16 }, (_, patch) => (patch % 4 < 2 ? 0 : 1));
  return {
    image: { width, height },
    grid: [4, 4],
    labels,
    crop: { x: 0, y: 0, width, height },
    tokens: [
      { id: 0, center: [1, 1], patches: 8, score: 0.9 },
      { id: 1, center: [1, 3], patches: 8, score: 0.6 },
    ],
    names: null,
    unfamiliar: null,
    device: "cpu",
    timingsMs: { preprocess: 1, encode: 2, cluster: 3, merge: 4 },
  };
}

/** The same as Rust says it. */
function rawHalves(width?: number, height?: number): unknown {
  const { timingsMs, ...rest } = halves(width, height);
  return { ...rest, timings_ms: timingsMs };
}

/** What the fake machine has; a test that changes it changes it back. */
export const machine = { gpu: false };

/** What the fake weights take in each type. */
export const memoryBytes: Record<Dtype, number> = { stored: 160, f32: 512, q8_0: 136, q4_0: 72 };

const gpuReport: DeviceReport = { device: "gpu", reason: "asked for", adapter: null };

export class FakeAbort implements WasmAbort {
  /** Those that were made and not yet given back. */
  static alive = 0;
  aborted = false;

  constructor() {
    FakeAbort.alive += 1;
  }

  abort(): void {
    this.aborted = true;
  }

  free(): void {
    FakeAbort.alive -= 1;
  }
}

/** As Rust says it. */
export const usage = {
  prompt_tokens: 10,
  cached_tokens: 4,
  answer_tokens: 3,
  visual_tokens: 1,
  finish: "end",
  seconds: { prefill: 0.1, decode: 0.2, denoise: 0.3, mask: 0.4, render: 0.5 },
};

const mask = (): WasmMask => ({
  width: 2,
  height: 2,
  bits: Uint8Array.of(1, 0, 0, 1),
  score: 0.75,
  box: [0, 0, 2, 2],
  point: [0.5, 0.5],
  tokens: [{ id: 1, covered: 0.5 }],
});

const generated = (): WasmGeneratedImage => ({
  width: 2,
  height: 1,
  rgba: Uint8Array.of(1, 2, 3, 255, 4, 5, 6, 255),
  grid: [1, 2],
  crop: { x: 0, y: 0, width: 2, height: 1 },
  labels: Uint32Array.of(0, 1),
  tokens: [
    { copied: 1, patches: 1 },
    { copied: null, patches: 1 },
  ],
  removed: [0],
});

type OnEvent = (event: unknown) => void;

export class FakeEngine implements WasmEngine {
  freed = false;
  /** What was asked, in order. */
  readonly calls: string[] = [];
  /** Answers of the language model that came to their end. */
  finished = 0;
  /** Awaited in every call, so that a test decides when it ends. */
  gate: Promise<void> = Promise.resolve();

  readonly #report: DeviceReport;
  readonly #dtype: Dtype;

  constructor(device: DeviceReport = report, dtype: Dtype = "stored") {
    this.#report = device;
    this.#dtype = dtype;
  }

  device(): DeviceReport {
    return this.#report;
  }

  config(): Record<string, unknown> {
    return { name: "fake" };
  }

  weights(): unknown {
    return { stored: ["q8_0", "f32"], memory: this.#dtype, memory_bytes: memoryBytes[this.#dtype] };
  }

  tasks(): Task[] {
    return ["tokenize", "reconstruct", "chat", "describe", "segment", "generate", "edit"];
  }

  /** What the last request of the language model got. */
  asked: { messages?: WasmMessage[]; image?: WasmImage; options: WasmOptions } | undefined;

  /** Repeats the last text word by word, then a mask, a token and a picture. */
  async chat(messages: WasmMessage[], options: WasmOptions, onEvent: OnEvent, abort: FakeAbort): Promise<unknown> {
    this.asked = { messages, options };
    const last = messages.at(-1)?.parts.find((part) => part.type === "text");
    const text = last?.type === "text" ? last.text : "";
    if (text === "trap") throw new WebAssembly.RuntimeError("unreachable");
    await this.#emit(`chat ${text}`, abort, onEvent, [
      ...text.split(/(?<= )/).map((word) => ({ type: "text", text: word }) as const),
      { type: "mask", mask: mask() },
      { type: "visual-token", index: 0, copied: 1 },
      { type: "image", image: generated() },
    ]);
    return {
      parts: [
        { type: "text", text },
        { type: "mask", mask: mask() },
        { type: "image", image: generated() },
      ],
      usage,
    };
  }

  async describe(image: WasmImage, options: WasmOptions, onEvent: OnEvent, abort: FakeAbort): Promise<unknown> {
    this.asked = { image, options };
    await this.#emit("describe", abort, onEvent, [
      { type: "text", text: "A dog " },
      { type: "text", text: "on grass." },
    ]);
    return { parts: [{ type: "text", text: "A dog on grass." }], usage };
  }

  async segment(
    image: WasmImage,
    phrase: string,
    options: WasmOptions,
    onEvent: OnEvent,
    abort: FakeAbort,
  ): Promise<unknown> {
    this.asked = { image, options };
    const isThere = phrase !== "nothing";
    const text = isThere ? "" : "there is none";
    await this.#emit(`segment ${phrase}`, abort, onEvent, [
      isThere ? { type: "mask", mask: mask() } : { type: "text", text },
    ]);
    return { mask: isThere ? mask() : null, text, usage };
  }

  async generate(prompt: string, options: WasmOptions, onEvent: OnEvent, abort: FakeAbort): Promise<unknown> {
    if (prompt === "") throw rustError("prompt-invalid", "the prompt is not valid: the prompt is empty");
    this.asked = { options };
    const image = prompt === "nothing" ? null : generated();
    const text = image === null ? "i can not" : "";
    const events: unknown[] = [
      { type: "visual-token", index: 0, copied: null },
      { type: "image", image: generated() },
    ];
    await this.#emit(`generate ${prompt}`, abort, onEvent, image === null ? [{ type: "text", text }] : events);
    return { image, text, usage };
  }

  async edit(
    image: WasmImage,
    instruction: string,
    options: WasmOptions,
    onEvent: OnEvent,
    abort: FakeAbort,
  ): Promise<unknown> {
    this.asked = { image, options };
    const edited = instruction === "nothing" ? null : generated();
    const text = edited === null ? "there is none" : "";
    await this.#emit(`edit ${instruction}`, abort, onEvent, [
      edited === null ? { type: "text", text } : { type: "image", image: generated() },
    ]);
    return { image: edited, text, usage };
  }

  /** One event after the other, with a look at `abort` and a turn of the event loop between them, as in Rust. */
  async #emit(call: string, abort: FakeAbort, onEvent: OnEvent, events: unknown[]): Promise<void> {
    this.calls.push(call);
    await this.gate;
    for (const event of [...events, { type: "done", usage } as const]) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (abort.aborted) throw rustError("aborted", "stopped on request");
      onEvent(event);
    }
    this.finished += 1;
  }

  async tokenize(bytes: Uint8Array): Promise<unknown> {
    this.calls.push(`tokenize ${bytes.byteLength}`);
    await this.gate;
    if (bytes.byteLength === 0) throw rustError("image-decode", "the picture cannot be read: no bytes");
    if (bytes[0] === 0xff) throw new WebAssembly.RuntimeError("unreachable");
    if (bytes[0] === 0xfe) throw rustError("device-lost", "the GPU device was lost: destroyed");
    if (bytes[0] === 0xfd) throw rustError("out-of-memory", "there is no memory for a buffer");
    return rawHalves();
  }

  async tokenize_rgba(rgba: Uint8Array, width: number, height: number): Promise<unknown> {
    this.calls.push(`tokenize_rgba ${rgba.byteLength} ${width}x${height}`);
    await this.gate;
    return rawHalves(width, height);
  }

  async reconstruct(bytes: Uint8Array): Promise<unknown> {
    this.calls.push(`reconstruct ${bytes.byteLength}`);
    return { width: 2, height: 1, rgba: Uint8Array.of(1, 2, 3, 255, 4, 5, 6, 255), tokens: rawHalves() };
  }

  reconstruct_rgba(rgba: Uint8Array): Promise<unknown> {
    return this.reconstruct(rgba);
  }

  free(): void {
    this.freed = true;
  }
}

export class FakeLoader implements WasmLoader {
  freed = false;
  readonly added: string[] = [];
  readonly engine: FakeEngine;
  readonly #files: WasmFile[];

  constructor(files: WasmFile[], device?: DeviceReport, dtype?: Dtype) {
    this.#files = files;
    this.engine = new FakeEngine(device, dtype);
  }

  files(): WasmFile[] {
    return this.#files;
  }

  async add(name: string, bytes: Uint8Array): Promise<void> {
    const file = this.#files.find((each) => each.name === name);
    if (file === undefined) throw rustError("shard-corrupt", `no shard ${name}`);
    if (sha256(bytes) !== file.sha256) throw rustError("hash-mismatch", `shard ${name} does not match`);
    this.added.push(name);
  }

  async finish(): Promise<WasmEngine> {
    return this.engine;
  }

  free(): void {
    this.freed = true;
  }
}

/** The loaders that were made, last one last. */
export const loaders: FakeLoader[] = [];

/** What was told of earlier probes. */
export const remembered: DeviceReport[] = [];

export const fakeWasm: WasmModule = {
  Abort: FakeAbort,
  memoryBytes: () => 65_536,
  probe: async () => report,
  remember_probe: (earlier) => void remembered.push(earlier),
  Loader: {
    async create(config, manifest, device, dtype = "stored") {
      if (!(dtype in memoryBytes))
        throw rustError("setting-invalid", `type \`${dtype}\` is not one of stored, f32, q8_0, q4_0`);
      if (device === "gpu" && !machine.gpu)
        throw rustError("device-unavailable", "no GPU device: none here", "Choose cpu.");
      JSON.parse(config);
      const { files } = JSON.parse(manifest) as { files: WasmFile[] };
      const loader = new FakeLoader(files, machine.gpu && device !== "cpu" ? gpuReport : report, dtype);
      loaders.push(loader);
      return loader;
    },
  },
};

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

export const probe = fakeWasm.probe;
export const remember_probe = fakeWasm.remember_probe;
export const Loader = fakeWasm.Loader;
export const Abort = fakeWasm.Abort;

export default async function init(): Promise<{ memory: WebAssembly.Memory }> {
  return { memory: new WebAssembly.Memory({ initial: 1 }) };
}
