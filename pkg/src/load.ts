/** Files -> a model on the device: bounded download ahead, hash check and upload in order, warm-up, progress. */

import type { ModelRecord, WeightCache } from "./cache.js";
import { camelCased } from "./camel-case.js";
import {
  abortedError,
  asSetokimError,
  isTrap,
  outOfMemory,
  SetokimError,
  throwIfAborted,
  WASM_MEMORY,
} from "./errors.js";
import type { DeviceChoice, DeviceReport, Dtype, LoadProgress, LoadStage, ModelInfo } from "./types.js";
import type { WasmEngine, WasmFile, WasmLoader, WasmModule } from "./wasm.js";
import type { WeightSource } from "./weights.js";

/** Shards that may be on their way or waiting for the device at one time: what bounds the memory. */
const AHEAD = 2;

/** How much of the whole each stage is, for the one bar that a page shows. */
const shares: Record<Exclude<LoadStage, "ready">, number> = {
  download: 0.8,
  verify: 0,
  upload: 0.1,
  compile: 0.04,
  warmup: 0.06,
};

export interface EngineOptions {
  device: DeviceChoice;
  dtype: Dtype;
  /** The address under which the model is cached; undefined when it is not (picked files). */
  url?: string | undefined;
  cache?: WeightCache | undefined;
  warmUp?: boolean | undefined;
  /** The stored model before the network's. */
  storedFirst?: boolean | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: LoadProgress) => void) | undefined;
}

export interface LoadedEngine {
  engine: WasmEngine;
  model: ModelInfo;
}

export async function loadEngine(
  wasm: WasmModule,
  source: WeightSource,
  options: EngineOptions,
): Promise<LoadedEngine> {
  const { device, dtype, url, cache, signal } = options;
  const progress = new ProgressMeter(options.onProgress);
  progress.report("download");

  const stored = options.storedFirst === true && url !== undefined ? await cache?.model(url) : undefined;
  const texts = stored ?? (await readTexts(source, url, cache, signal));
  throwIfAborted(signal);
  const loader = await wasm.Loader.create(texts.config, texts.manifest, device, dtype);
  let engine: WasmEngine | undefined;
  let finished = false;
  const stop = new AbortController(); // ends the downloads when anything else fails
  const onAbort = (): void => stop.abort(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    throwIfAborted(signal);
    const files = loader.files();
    progress.expect(files);
    checkFits(files, device, dtype);
    progress.report("download");
    const pending: Promise<Shard>[] = [];
    const startNext = (): void => {
      const file = files[pending.length];
      if (file === undefined) return;
      const shard = fetchShard(source, file, cache, progress, stop.signal);
      shard.catch(() => undefined); // it is awaited below, in its turn
      pending.push(shard);
    };
    for (let i = 0; i < AHEAD; i += 1) startNext();
    let stored = true;
    for (const [i, file] of files.entries()) {
      const shard = await pending[i];
      throwIfAborted(signal);
      if (shard === undefined) break;
      stored = (await addShard(loader, source, file, shard, cache, progress, stop.signal)) && stored;
      pending[i] = Promise.resolve({ bytes: new Uint8Array(), cached: true }); // let go of the bytes
      startNext();
      throwIfAborted(signal);
    }

    progress.report("compile");
    finished = true;
    engine = await loader.finish();
    const model = modelInfo(engine.config(), files);
    // Listed only when all of it is there: what cannot be loaded without a network must not look as if it could.
    if (stored && url !== undefined && cache !== undefined) await cache.keepModel(recordOf(url, model, texts, files));

    if (options.warmUp ?? camelCased<DeviceReport>(engine.device()).device === "gpu") {
      progress.report("warmup");
      await engine.tokenize_rgba(new Uint8Array(16 * 16 * 4).fill(255), 16, 16);
    }
    throwIfAborted(signal);
    progress.report("ready");
    throwIfAborted(signal); // by the listener
    return { engine, model };
  } catch (error) {
    stop.abort();
    const fault = asSetokimError(error);
    const failure = signal?.aborted === true ? abortedError(signal) : fault;
    if (!isTrap(fault)) (finished ? engine : loader)?.free();
    throw failure;
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

interface Texts {
  config: string;
  manifest: string;
}

interface Shard {
  bytes: Uint8Array;
  cached: boolean;
}

/** From the network, so that a new model is seen; from the cache when there is none. */
async function readTexts(
  source: WeightSource,
  url: string | undefined,
  cache: WeightCache | undefined,
  signal: AbortSignal | undefined,
): Promise<Texts> {
  try {
    const both = [source.text("config.json"), source.text("manifest.json")] as const;
    const [first, second] = await Promise.allSettled(both); // where one fails, the other is not left asking
    if (first.status === "fulfilled" && second.status === "rejected") checkOurs(first.value);
    const [config, manifest] = await Promise.all(both);
    return { config, manifest };
  } catch (error) {
    throwIfAborted(signal);
    const offline = error instanceof SetokimError && error.code === "network";
    const record = offline && url !== undefined ? await cache?.model(url) : undefined;
    if (record === undefined) throw error;
    return record;
  }
}

/** A folder without a manifest whose config names what Hugging Face's libraries look for is one of theirs. */
function checkOurs(config: string): void {
  let read: { model_type?: unknown; architectures?: unknown } | null;
  try {
    read = JSON.parse(config) as typeof read;
  } catch {
    return; // what it is, the missing manifest says
  }
  const kind = read?.model_type ?? read?.architectures;
  if (kind === undefined) return;
  throw new SetokimError(
    "unsupported",
    `this is the folder of another program (${String(kind)}): it has no manifest.json`,
    {
      remedy:
        "Convert it with `setokim convert FOLDER -o my-model` (docs/convert.md), and pass the folder that it writes.",
    },
  );
}

async function fetchShard(
  source: WeightSource,
  file: WasmFile,
  cache: WeightCache | undefined,
  progress: ProgressMeter,
  signal: AbortSignal,
  fresh = false,
): Promise<Shard> {
  const stored = fresh ? undefined : await cache?.shard(file);
  if (stored !== undefined) {
    progress.downloaded(file, file.bytes, true);
    return { bytes: stored, cached: true };
  }
  throwIfAborted(signal);
  const bytes = await source.shard(file, {
    signal,
    fresh,
    onBytes: (loaded) => progress.downloaded(file, loaded, false),
  });
  return { bytes, cached: false };
}

/** Whether the shard is in the cache now. */
async function addShard(
  loader: WasmLoader,
  source: WeightSource,
  file: WasmFile,
  shard: Shard,
  cache: WeightCache | undefined,
  progress: ProgressMeter,
  signal: AbortSignal,
): Promise<boolean> {
  progress.report("verify", file, shard.cached);
  try {
    await loader.add(file.name, shard.bytes);
  } catch (error) {
    const { code } = asSetokimError(error);
    if (code !== "hash-mismatch" && code !== "shard-corrupt") throw error;
    // Spoilt in our cache or in the browser's: once more, from the server itself.
    await cache?.dropShard(file);
    progress.downloaded(file, 0, false);
    const again = await fetchShard(source, file, undefined, progress, signal, true);
    await loader.add(file.name, again.bytes);
    shard = again;
  }
  progress.uploaded(file, shard.cached);
  return shard.cached || (await cache?.keepShard(file, shard.bytes)) === true;
}

/**
 * On the CPU the weights lie in the WebAssembly memory, so what is larger can be refused before it is downloaded; weights that
 * are packed while they are loaded may take less than their files.
 */
function checkFits(files: readonly WasmFile[], device: DeviceChoice, dtype: Dtype): void {
  const needed = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const mayShrink = dtype === "q8_0" || dtype === "q4_0";
  if (device === "cpu" && !mayShrink && needed > WASM_MEMORY) throw outOfMemory(needed, "the model on the CPU");
}

function modelInfo(config: Record<string, unknown>, files: readonly WasmFile[]): ModelInfo {
  const name = config["name"];
  return {
    name: typeof name === "string" ? name : "model",
    bytes: files.reduce((sum, file) => sum + file.bytes, 0),
    config,
  };
}

function recordOf(url: string, model: ModelInfo, texts: Texts, files: readonly WasmFile[]): ModelRecord {
  return {
    url,
    name: model.name,
    bytes: model.bytes,
    saved: Date.now(),
    config: texts.config,
    manifest: texts.manifest,
    shards: files.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 })),
  };
}

/** Turns what happens to single files into one report with one fraction that never goes back. */
class ProgressMeter {
  readonly #listener: ((progress: LoadProgress) => void) | undefined;
  readonly #loaded = new Map<string, number>();
  #total = 0;
  #uploaded = 0;
  #fraction = 0;

  constructor(listener: ((progress: LoadProgress) => void) | undefined) {
    this.#listener = listener;
  }

  expect(files: readonly WasmFile[]): void {
    this.#total = files.reduce((sum, file) => sum + file.bytes, 0);
  }

  downloaded(file: WasmFile, loaded: number, cached: boolean): void {
    this.#loaded.set(file.name, loaded);
    this.report("download", file, cached);
  }

  uploaded(file: WasmFile, cached: boolean): void {
    this.#uploaded += file.bytes;
    this.report("upload", file, cached);
  }

  report(stage: LoadStage, file?: WasmFile, cached?: boolean): void {
    const downloaded = [...this.#loaded.values()].reduce((sum, bytes) => sum + bytes, 0);
    const part = (bytes: number): number => (this.#total > 0 ? bytes / this.#total : 0);
    let fraction = shares.download * part(downloaded) + shares.upload * part(this.#uploaded);
    if (stage === "warmup") fraction += shares.compile;
    if (stage === "ready") fraction = 1;
    this.#fraction = Math.max(this.#fraction, fraction);
    const loaded =
      stage === "download" ? downloaded : stage === "verify" || stage === "upload" ? this.#uploaded : this.#total;
    this.#listener?.({
      stage,
      loaded,
      total: this.#total,
      fraction: this.#fraction,
      ...(file === undefined ? {} : { file: file.name }),
      ...(cached === undefined ? {} : { cached }),
    });
  }
}
