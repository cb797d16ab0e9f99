/** The engine in this thread: in the page when asked for, else inside the worker. */

import { withImages } from "./answers.js";
import { openCache } from "./cache.js";
import { camelCased } from "./camel-case.js";
import { asSetokimError, isFatal, isTrap, SetokimError } from "./errors.js";
import { portFetch } from "./fetch-port.js";
import type { AnswerRequest, Host, LoadReply, LoadRequest } from "./host.js";
import { type RequestImage, readImage } from "./image.js";
import { loadEngine } from "./load.js";
import type { DeviceReport, LoadProgress, Tokenization } from "./types.js";
import { PolicyWatch } from "./unreachable.js";
import {
  startWasm,
  type WasmAbort,
  type WasmAnswer,
  type WasmEngine,
  type WasmEvent,
  type WasmImage,
  type WasmImageAnswer,
  type WasmMaskAnswer,
  type WasmModule,
  type WasmPart,
  type WasmReconstruction,
} from "./wasm.js";
import { FileSource, UrlSource, type WeightSource } from "./weights.js";
import { checkPolicy, hasSimd, whyNoWasm } from "./why-no-wasm.js";

export type StartWasm = (wasmUrl?: string) => Promise<WasmModule>;

export class LocalHost implements Host {
  readonly #start: StartWasm;
  #module: WasmModule | undefined;
  #engine: WasmEngine | undefined;
  #failure: SetokimError | undefined;
  #disposed = false;
  #requests = 0;
  #observer: PerformanceObserver | undefined;

  constructor(start: StartWasm = startWasm) {
    this.#start = start;
  }

  async probe(wasmUrl?: string): Promise<DeviceReport> {
    return this.#guard(async () => camelCased(await (await this.#wasm(wasmUrl)).probe()));
  }

  async load(
    request: LoadRequest,
    onProgress?: (progress: LoadProgress) => void,
    signal?: AbortSignal,
  ): Promise<LoadReply> {
    return this.#guard(async () => {
      const wasm = await this.#wasm(request.wasmUrl);
      if (request.earlierProbe !== undefined) wasm.remember_probe(request.earlierProbe);
      const url = typeof request.source === "string" ? request.source : undefined;
      const { engine, model } = await loadEngine(wasm, sourceOf(request, signal), {
        device: request.device,
        dtype: request.dtype,
        url,
        cache: request.cache && url !== undefined ? await openCache() : undefined,
        warmUp: request.warmUp,
        storedFirst: request.storedFirst,
        signal,
        onProgress,
      });
      if (this.#disposed) {
        engine.free();
        throw new SetokimError("disposed", "the model was given back");
      }
      this.#engine = engine;
      this.#countRequests();
      return {
        ...camelCased<Pick<LoadReply, "device" | "weights">>({ device: engine.device(), weights: engine.weights() }),
        model,
        tasks: engine.tasks(),
      };
    });
  }

  tokenize(image: RequestImage): Promise<Tokenization> {
    return this.#guard(async () => {
      const engine = this.#ready();
      const read = readImage(image);
      return camelCased(
        read.kind === "encoded"
          ? await engine.tokenize(read.bytes)
          : await engine.tokenize_rgba(read.rgba, read.width, read.height),
      );
    });
  }

  reconstruct(image: RequestImage): Promise<WasmReconstruction> {
    return this.#guard(async () => {
      const engine = this.#ready();
      const read = readImage(image);
      return camelCased(
        read.kind === "encoded"
          ? await engine.reconstruct(read.bytes)
          : await engine.reconstruct_rgba(read.rgba, read.width, read.height),
      );
    });
  }

  answer(request: AnswerRequest, onEvent: (event: WasmEvent) => void, signal: AbortSignal): Promise<WasmAnswer> {
    return this.#guard(async () => {
      const engine = this.#ready();
      const abort = this.#newAbort();
      const onAbort = (): void => abort.abort();
      if (signal.aborted) onAbort();
      signal.addEventListener("abort", onAbort, { once: true });
      try {
        return await answerWith(engine, request, onEvent, abort);
      } finally {
        signal.removeEventListener("abort", onAbort);
        abort.free();
      }
    });
  }

  requests(): number {
    this.#requests += this.#observer?.takeRecords().length ?? 0;
    return this.#requests;
  }

  memory(): number {
    return this.#module?.memoryBytes() ?? 0;
  }

  async dispose(): Promise<void> {
    this.#disposed = true;
    this.#observer?.disconnect();
    const engine = this.#engine;
    this.#engine = undefined;
    if (this.#failure === undefined || !isTrap(this.#failure)) engine?.free();
  }

  get failure(): SetokimError | undefined {
    return this.#failure;
  }

  #ready(): WasmEngine {
    if (this.#engine === undefined) throw new SetokimError("disposed", "the model is not loaded");
    return this.#engine;
  }

  #newAbort(): WasmAbort {
    if (this.#module === undefined) throw new SetokimError("disposed", "the model is not loaded");
    return new this.#module.Abort();
  }

  async #wasm(wasmUrl?: string): Promise<WasmModule> {
    if (!hasSimd()) throw new SetokimError("browser-unsupported", "this browser has no WebAssembly SIMD");
    checkPolicy();
    const policy = new PolicyWatch();
    try {
      return (this.#module = await this.#start(wasmUrl));
    } catch (error) {
      throw whyNoWasm(error, (await policy.broken("connect-src")).length > 0);
    } finally {
      policy.end();
    }
  }

  /**
   * Typed errors, and an end for calls that a trap would leave pending for ever: a trap inside a Rust future does not
   * reject its promise, it only shows as an uncaught error of this thread.
   */
  async #guard<T>(task: () => Promise<T>): Promise<T> {
    if (this.#failure !== undefined) throw this.#failure;
    let stopListening = (): void => undefined;
    const trap = new Promise<never>((_, reject) => {
      if (typeof addEventListener !== "function") return;
      const onError = (event: ErrorEvent): void => {
        if (!(event.error instanceof WebAssembly.RuntimeError)) return;
        event.preventDefault(); // or the page hears that the worker broke before it hears why
        reject(event.error);
      };
      addEventListener("error", onError);
      stopListening = () => removeEventListener("error", onError);
    });
    try {
      return await Promise.race([task(), trap]);
    } catch (thrown) {
      const error = asSetokimError(thrown);
      if (isFatal(error)) this.#failure = error;
      throw error;
    } finally {
      stopListening();
    }
  }

  #countRequests(): void {
    if (typeof PerformanceObserver === "undefined") return;
    this.#observer?.disconnect();
    this.#requests = 0;
    this.#observer = new PerformanceObserver((list) => {
      this.#requests += list.getEntries().length;
    });
    this.#observer.observe({ type: "resource" });
  }
}

function sourceOf({ source, asked, headers, fetch }: LoadRequest, signal: AbortSignal | undefined): WeightSource {
  if (typeof source !== "string") return new FileSource(source);
  const own = typeof fetch === "object" ? portFetch(fetch) : fetch;
  return new UrlSource(source, { signal, asked, headers, fetch: own });
}

/** Every task's answer in one form: parts in order. */
async function answerWith(
  engine: WasmEngine,
  request: AnswerRequest,
  listener: (event: WasmEvent) => void,
  abort: WasmAbort,
): Promise<WasmAnswer> {
  const { options } = request;
  const onEvent = (event: unknown): void => listener(camelCased(event));
  if (request.task === "chat") {
    const messages = await withImages(request.messages, wasmImage);
    return camelCased(await engine.chat(messages, options, onEvent, abort));
  }
  if (request.task === "generate") return imageAnswer(await engine.generate(request.prompt, options, onEvent, abort));
  const image = wasmImage(request.image);
  if (request.task === "describe") return camelCased(await engine.describe(image, options, onEvent, abort));
  if (request.task === "edit") return imageAnswer(await engine.edit(image, request.prompt, options, onEvent, abort));
  return maskAnswer(await engine.segment(image, request.prompt, options, onEvent, abort));
}

function imageAnswer(answer: unknown): WasmAnswer {
  const { image, text, usage } = camelCased<WasmImageAnswer>(answer);
  return { parts: [...textPart(text), ...(image === null ? [] : [{ type: "image", image } as const])], usage };
}

function maskAnswer(answer: unknown): WasmAnswer {
  const { mask, text, usage } = camelCased<WasmMaskAnswer>(answer);
  return { parts: [...textPart(text), ...(mask === null ? [] : [{ type: "mask", mask } as const])], usage };
}

function textPart(text: string): WasmPart[] {
  return text === "" ? [] : [{ type: "text", text }];
}

function wasmImage(image: RequestImage): WasmImage {
  const read = readImage(image);
  return read.kind === "encoded" ? { bytes: read.bytes } : { rgba: read.rgba, width: read.width, height: read.height };
}
