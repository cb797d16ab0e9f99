import { openCache, type CachedModel } from "./cache.js";
import { abortedError, asSetokimError, SetokimError, throwIfAborted } from "./errors.js";
import type { Host, LoadReply } from "./host.js";
import { pictureFrom, type Picture } from "./image.js";
import { SerialQueue } from "./queue.js";
import { RemoteHost } from "./remote.js";
import type {
  DeviceReport,
  ImageInput,
  LoadOptions,
  ModelInfo,
  ModelSource,
  NetworkReport,
  ProbeOptions,
  Reconstruction,
  RequestOptions,
  SetokimApi,
  Tokenization,
} from "./types.js";

/**
 * A loaded model. Requests run one after the other in the order in which they were made.
 *
 * ```ts
 * const setokim = await Setokim.load("/models/setokim-tiny/");
 * const { tokens, labels } = await setokim.tokenize(file);
 * await setokim.dispose();
 * ```
 */
export class Setokim implements SetokimApi {
  /** The models in this browser's storage. */
  static readonly cache = {
    async list(): Promise<CachedModel[]> {
      return (await (await openCache())?.list()) ?? [];
    },
    /** Forgets the model that was loaded from this address, or all of them. */
    async delete(url?: string | URL): Promise<void> {
      await (await openCache())?.delete(url === undefined ? undefined : absolute(url));
    },
  };

  /** Which device `auto` would take, and why, before any weights are downloaded. Never rejects for want of a GPU. */
  static async probe(options: ProbeOptions = {}): Promise<DeviceReport> {
    throwIfAborted(options.signal);
    const host = await openHost(options);
    try {
      return await withSignal(host.probe(absoluteOrUndefined(options.wasmUrl)), options.signal);
    } finally {
      await host.dispose();
    }
  }

  /** Downloads (or takes from storage), checks and starts a model: a folder's address, or the files of that folder. */
  static async load(source: ModelSource, options: LoadOptions = {}): Promise<Setokim> {
    const { device = "auto", cache = true, warmUp, signal, onProgress } = options;
    throwIfAborted(signal);
    const host = await openHost(options);
    try {
      const request = {
        source: typeof source === "string" || source instanceof URL ? absolute(source) : [...source],
        device,
        cache,
        warmUp,
        wasmUrl: absoluteOrUndefined(options.wasmUrl),
      };
      const reply = await withSignal(host.load(request, onProgress, signal), signal);
      return new Setokim(host, reply);
    } catch (error) {
      void host.dispose();
      throw asSetokimError(error);
    }
  }

  /** What runs the model, and why. */
  readonly device: DeviceReport;
  readonly model: ModelInfo;
  readonly #host: Host;
  readonly #queue = new SerialQueue();
  #fetched = 0;
  #disposed: Promise<void> | undefined;

  private constructor(host: Host, { device, model }: LoadReply) {
    this.#host = host;
    this.device = device;
    this.model = model;
  }

  /** The semantic tokens of a picture: how many there are is decided by the picture. */
  tokenize(image: ImageInput, options: RequestOptions = {}): Promise<Tokenization> {
    return this.#request(image, options.signal, (picture) => this.#host.tokenize(picture));
  }

  /** The picture drawn again from its tokens alone: what the tokens remember of it. */
  async reconstruct(image: ImageInput, options: RequestOptions = {}): Promise<Reconstruction> {
    const { rgba, width, height, tokens } = await this.#request(image, options.signal, (picture) =>
      this.#host.reconstruct(picture),
    );
    return { image: new ImageData(Uint8ClampedArray.from(rgba), width, height), tokens };
  }

  /** What the library itself asked of the network since the model was loaded. */
  get network(): NetworkReport {
    return { requests: this.#fetched + this.#host.requests() };
  }

  /** Gives back the device and ends the worker. Requests under way reject with `disposed`. */
  dispose(): Promise<void> {
    this.#disposed ??= (async () => {
      this.#queue.close(new SetokimError("disposed", "the model was given back"));
      await this.#host.dispose();
    })();
    return this.#disposed;
  }

  /** `await using setokim = await Setokim.load(…)` (a browser without the symbol gets a method that nobody calls). */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #request<T>(
    image: ImageInput,
    signal: AbortSignal | undefined,
    work: (picture: Picture) => Promise<T>,
  ): Promise<T> {
    if (this.#disposed !== undefined) {
      return Promise.reject(new SetokimError("disposed", "the model was given back"));
    }
    // Read at once, while others run: a canvas may change before its turn comes.
    const picture = pictureFrom(image, signal, () => (this.#fetched += 1));
    picture.catch(() => undefined); // it is awaited in its turn
    return this.#queue
      .run(async () => work(await picture), signal)
      .catch((error: unknown) => {
        throw asSetokimError(error);
      });
  }
}

interface HostOptions {
  worker?: boolean | undefined;
  workerUrl?: string | URL | undefined;
}

async function openHost({ worker = true, workerUrl }: HostOptions): Promise<Host> {
  if (!worker) return new (await import("./local.js")).LocalHost();
  try {
    // Bundlers look for exactly this expression.
    return new RemoteHost(
      workerUrl === undefined
        ? new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "setokim" })
        : new Worker(workerUrl, { type: "module", name: "setokim" }),
    );
  } catch (error) {
    throw new SetokimError("worker-unavailable", "the worker cannot be started", { cause: error });
  }
}

/** Rejects as soon as the signal says so, whatever becomes of the work. */
function withSignal<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(abortedError(signal));
    signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

/** Against the page's address: the worker has another one. */
function absolute(url: string | URL): string {
  const base = typeof document === "undefined" ? globalThis.location?.href : document.baseURI;
  try {
    return new URL(url, base).href;
  } catch (error) {
    throw new SetokimError("setting-invalid", `this is not an address: ${String(url)}`, { cause: error });
  }
}

function absoluteOrUndefined(url: string | URL | undefined): string | undefined {
  return url === undefined ? undefined : absolute(url);
}
