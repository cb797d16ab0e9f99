/** Where the files of a model come from: a folder on a server, or files that the person picked. */

import { outOfMemory, SetokimError, throwIfAborted } from "./errors.js";
import { type Fetch, type FetchInit, fetchUrl } from "./fetching.js";
import { PolicyWatch, unreachable, WrongAnswer } from "./unreachable.js";
import type { WasmFile } from "./wasm.js";

/** Most of a `config.json` or `manifest.json`: ours are a few KiB. */
const MAX_TEXT_BYTES = 4 << 20;

export interface WeightSource {
  /** `config.json` or `manifest.json`. */
  text(name: string): Promise<string>;
  /** A whole shard. `onBytes` is told how many of its bytes are there; the count falls when a download starts over. */
  shard(file: WasmFile, options: ShardOptions): Promise<Uint8Array>;
}

export interface ShardOptions {
  signal?: AbortSignal | undefined;
  onBytes?: ((loaded: number) => void) | undefined;
  /** Past the browser's HTTP cache, after a hash did not match. */
  fresh?: boolean | undefined;
}

export interface RetryPolicy {
  /** Failures in a row without one new byte before giving up. */
  attempts: number;
  /** First pause in milliseconds; each next one is twice as long. */
  pause: number;
  /** Milliseconds without a byte after which a connection counts as cut. */
  patience: number;
}

const defaultRetry: RetryPolicy = { attempts: 4, pause: 400, patience: 30_000 };

export interface UrlSourceOptions {
  signal?: AbortSignal | undefined;
  retry?: RetryPolicy | undefined;
  /** Sent with every request. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** The caller's own. */
  fetch?: Fetch | undefined;
  /** The address as the caller wrote it. */
  asked?: string | undefined;
}

/** The files of a model in a folder on a server. */
export class UrlSource implements WeightSource {
  readonly #base: URL;
  readonly #options: UrlSourceOptions;
  readonly #signal: AbortSignal | undefined;
  readonly #retry: RetryPolicy;

  /** `base` is absolute; whether it ends with a slash does not matter, and its query goes with every file. */
  constructor(base: string, options: UrlSourceOptions = {}) {
    this.#base = new URL(base);
    if (!this.#base.pathname.endsWith("/")) this.#base.pathname += "/";
    this.#options = options;
    this.#signal = options.signal;
    this.#retry = options.retry ?? defaultRetry;
  }

  async text(name: string): Promise<string> {
    const url = this.#address(name);
    return this.#retrying(name, this.#signal, async (watch) => {
      // Revalidated each time: a new manifest must not meet old weights.
      const response = await watch.over(this.#fetch(url, { cache: "no-cache", signal: watch.signal }));
      checkStatus(response);
      const chunks: Uint8Array<ArrayBuffer>[] = [];
      let length = 0;
      await watch.read(response, (chunk) => {
        length += chunk.byteLength;
        if (length > MAX_TEXT_BYTES) throw tooLong(name);
        chunks.push(chunk);
      });
      return new Blob(chunks).text();
    });
  }

  async shard(file: WasmFile, { signal = this.#signal, onBytes, fresh = false }: ShardOptions): Promise<Uint8Array> {
    let bytes: Uint8Array | undefined;
    let loaded = 0;
    const move = (to: number): void => {
      loaded = to;
      onBytes?.(loaded);
    };
    const attempt = async (watch: StallWatch): Promise<Uint8Array> => {
      const request = this.#fetch(this.#address(file.name), {
        cache: fresh ? "reload" : "default",
        signal: watch.signal,
        ...(loaded > 0 ? { headers: { Range: `bytes=${loaded}-` } } : {}),
      });
      const response = await watch.over(request);
      if (response.status === 416) throw wrongLength(file, loaded);
      checkStatus(response);
      if (loaded > 0 && !continues(response, loaded)) move(0); // the server sends it from the start again
      const announced = announcedLength(response);
      if (announced !== undefined && loaded + announced > file.bytes) throw wrongLength(file, loaded + announced);
      // Not before the server has it: a manifest may claim gigabytes that are nowhere.
      const whole = (bytes ??= allocate(file));
      await watch.read(response, (chunk) => {
        if (loaded + chunk.byteLength > file.bytes) throw wrongLength(file, loaded + chunk.byteLength);
        whole.set(chunk, loaded);
        move(loaded + chunk.byteLength);
      });
      if (loaded < file.bytes) throw new TypeError(`the connection was cut after ${loaded} of ${file.bytes} bytes`);
      return whole;
    };
    return this.#retrying(file.name, signal, attempt, () => loaded);
  }

  /** Tries again with growing pauses; progress between two failures starts the count anew. */
  async #retrying<T>(
    name: string,
    signal: AbortSignal | undefined,
    attempt: (watch: StallWatch) => Promise<T>,
    progress: () => number = () => 0,
  ): Promise<T> {
    let failures = 0;
    let farthest = 0;
    const policy = new PolicyWatch();
    try {
      for (;;) {
        throwIfAborted(signal);
        const watch = new StallWatch(this.#retry.patience, signal);
        try {
          return await attempt(watch);
        } catch (error) {
          throwIfAborted(signal);
          if (error instanceof SetokimError) throw error;
          // Farther than ever, not than last time: a server that cuts here and there would be asked for ever.
          if (progress() > farthest) failures = 0;
          farthest = Math.max(farthest, progress());
          failures += 1;
          const isFinal = error instanceof WrongAnswer && !retriable(error.status);
          if (isFinal || failures >= this.#retry.attempts) {
            throw await this.#why(this.#address(name), error, await policy.broken("connect-src"));
          }
          await pause(this.#retry.pause * 2 ** (failures - 1), signal);
        } finally {
          watch.end();
        }
      }
    } finally {
      policy.end();
    }
  }

  #fetch(url: URL, init: FetchInit): Promise<Response> {
    const { fetch = fetchUrl, headers } = this.#options;
    return fetch(url.href, { ...init, ...(headers === undefined ? {} : { headers: { ...headers, ...init.headers } }) });
  }

  #why(url: URL, error: unknown, blocked: readonly string[]): Promise<SetokimError> {
    const { headers, asked, fetch } = this.#options;
    return unreachable({ url, source: asked, headers, own: fetch !== undefined }, error, blocked);
  }

  #address(name: string): URL {
    const url = new URL(name, this.#base);
    if (url.origin !== this.#base.origin || !url.pathname.startsWith(this.#base.pathname)) {
      throw new SetokimError("manifest-invalid", `the manifest names a file outside its folder: ${name}`);
    }
    url.search = this.#base.search; // a signature holds for the folder
    return url;
  }
}

/** Ends a request in which nothing has come for a while: a browser would wait for minutes, or for ever. */
class StallWatch {
  readonly #stop = new AbortController();
  readonly #patience: number;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = (): void => this.#stop.abort(this.#signal?.reason);
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(patience: number, signal: AbortSignal | undefined) {
    this.#patience = patience;
    this.#signal = signal;
    signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  async over<T>(work: Promise<T>): Promise<T> {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => this.#stop.abort(new TypeError(`nothing came for ${this.#patience / 1000} seconds`)),
      this.#patience,
    );
    return work;
  }

  /** Reads a body to its end, chunk by chunk; what `take` throws ends the request. */
  async read(response: Response, take: (chunk: Uint8Array<ArrayBuffer>) => void): Promise<void> {
    if (response.body === null) throw new TypeError("the answer has no body");
    const reader = response.body.getReader();
    try {
      for (;;) {
        const { done, value } = await this.over(reader.read());
        if (done) return;
        take(value);
      }
    } catch (error) {
      void reader.cancel().catch(() => undefined);
      throw error;
    }
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#onAbort);
  }
}

/** The files of a model as the person picked them; folders in their paths are ignored. */
export class FileSource implements WeightSource {
  readonly #files: Map<string, File>;

  constructor(files: readonly File[]) {
    this.#files = new Map(files.map((file) => [file.name, file]));
  }

  async text(name: string): Promise<string> {
    return this.#read(name, (file) => {
      if (file.size > MAX_TEXT_BYTES) throw tooLong(name);
      return file.text();
    });
  }

  async shard(wanted: WasmFile, { signal, onBytes }: ShardOptions): Promise<Uint8Array> {
    throwIfAborted(signal);
    const buffer = await this.#read(wanted.name, (file) => {
      if (file.size !== wanted.bytes) throw wrongLength(wanted, file.size);
      return file.arrayBuffer();
    });
    throwIfAborted(signal);
    onBytes?.(buffer.byteLength);
    return new Uint8Array(buffer);
  }

  async #read<T>(name: string, read: (file: File) => Promise<T>): Promise<T> {
    const file = this.#files.get(name.split("/").pop() ?? name);
    if (file === undefined) {
      throw new SetokimError("io", `${name} is not among the files that were picked`, {
        remedy: "Pick all files of the model's folder: config.json, manifest.json and the weights.",
      });
    }
    try {
      return await read(file);
    } catch (error) {
      if (error instanceof SetokimError) throw error;
      throw new SetokimError("io", `${name} cannot be read`, { cause: error });
    }
  }
}

/** A single-page server answers any address with its page: that is no file of a model either. */
function checkStatus(response: Response): void {
  if (!response.ok) throw new WrongAnswer(response.status);
  if (/^text\/html\b/i.test(response.headers.get("content-type") ?? "")) throw new WrongAnswer(200);
}

function retriable(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 500;
}

/** Whether the answer to a Range request starts where we stopped, in the bytes that we count. */
function continues(response: Response, from: number): boolean {
  if (response.status !== 206 || response.headers.has("content-encoding")) return false;
  return new RegExp(`^bytes ${from}-`).test(response.headers.get("content-range") ?? `bytes ${from}-`);
}

/** What the answer's header says that its body has; undefined where it does not say, or may count packed bytes. */
function announcedLength(response: Response): number | undefined {
  if (response.type === "cors") return undefined; // another site's Content-Encoding is not shown
  const length = response.headers.get("content-length");
  return length === null || response.headers.has("content-encoding") ? undefined : Number(length);
}

function allocate(file: WasmFile): Uint8Array {
  try {
    return new Uint8Array(file.bytes);
  } catch (error) {
    throw outOfMemory(file.bytes, `for \`${file.name}\``, error);
  }
}

function tooLong(name: string): SetokimError {
  const code = name === "config.json" ? "config-invalid" : "manifest-invalid";
  return new SetokimError(code, `${name} is longer than ${MAX_TEXT_BYTES >> 20} MiB`);
}

function wrongLength(file: WasmFile, got: number): SetokimError {
  return new SetokimError(
    "shard-corrupt",
    `shard \`${file.name}\` is corrupt: the manifest says ${file.bytes} bytes, and there are ${got > file.bytes ? "more" : `only ${got}`}`,
    { remedy: "Check that manifest.json and the weights come from the same export." },
  );
}

async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let onAbort = (): void => undefined;
  await new Promise<void>((resolve) => {
    onAbort = resolve;
    timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
  clearTimeout(timer);
  signal?.removeEventListener("abort", onAbort);
  throwIfAborted(signal);
}
