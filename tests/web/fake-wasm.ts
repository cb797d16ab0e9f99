/** Stands in for the WebAssembly module in unit tests: the same contract, no model behind it. */

import { createHash } from "node:crypto";
import type { DeviceReport, Tokenization } from "../../pkg/src/types.ts";
import type { WasmEngine, WasmFile, WasmLoader, WasmModule, WasmReconstruction } from "../../pkg/src/wasm.ts";

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
    device: "cpu",
    timings_ms: { preprocess: 1, encode: 2, cluster: 3, merge: 4 },
  };
}

export class FakeEngine implements WasmEngine {
  freed = false;
  /** What was asked, in order. */
  readonly calls: string[] = [];
  /** Awaited in every call, so that a test decides when it ends. */
  gate: Promise<void> = Promise.resolve();

  device(): DeviceReport {
    return report;
  }

  config(): Record<string, unknown> {
    return { name: "fake" };
  }

  async tokenize(bytes: Uint8Array): Promise<Tokenization> {
    this.calls.push(`tokenize ${bytes.byteLength}`);
    await this.gate;
    if (bytes.byteLength === 0) throw rustError("image-decode", "the picture cannot be read: no bytes");
    if (bytes[0] === 0xff) throw new WebAssembly.RuntimeError("unreachable");
    return halves();
  }

  async tokenize_rgba(rgba: Uint8Array, width: number, height: number): Promise<Tokenization> {
    this.calls.push(`tokenize_rgba ${rgba.byteLength} ${width}x${height}`);
    await this.gate;
    return halves(width, height);
  }

  async reconstruct(bytes: Uint8Array): Promise<WasmReconstruction> {
    this.calls.push(`reconstruct ${bytes.byteLength}`);
    return { width: 2, height: 1, rgba: Uint8Array.of(1, 2, 3, 255, 4, 5, 6, 255), tokens: halves() };
  }

  reconstruct_rgba(rgba: Uint8Array): Promise<WasmReconstruction> {
    return this.reconstruct(rgba);
  }

  free(): void {
    this.freed = true;
  }
}

export class FakeLoader implements WasmLoader {
  freed = false;
  readonly added: string[] = [];
  readonly engine = new FakeEngine();
  readonly #files: WasmFile[];

  constructor(files: WasmFile[]) {
    this.#files = files;
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

export const fakeWasm: WasmModule = {
  probe: async () => report,
  Loader: {
    async create(config, manifest, device) {
      if (device === "gpu") throw rustError("device-unavailable", "no GPU device: none here", "Choose cpu.");
      JSON.parse(config);
      const { files } = JSON.parse(manifest) as { files: WasmFile[] };
      const loader = new FakeLoader(files);
      loaders.push(loader);
      return loader;
    },
  },
};

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

export const probe = fakeWasm.probe;
export const Loader = fakeWasm.Loader;

export default async function init(): Promise<void> {}
