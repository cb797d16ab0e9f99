/** The page's half of the protocol: a `Host` whose work is done in a worker. */

import { abortedError, errorFromMessage, isFatal, SetokimError } from "./errors.js";
import { serveFetch } from "./fetch-port.js";
import { type AnswerRequest, type Host, imagesOf, type LoadReply, type LoadRequest } from "./host.js";
import { type RequestImage, transferablesOf } from "./image.js";
import type { CallName, Calls, Reply, Request } from "./protocol.js";
import type { DeviceReport, LoadProgress, Tokenization } from "./types.js";
import type { WasmAnswer, WasmEvent, WasmReconstruction } from "./wasm.js";

/** The part of `Worker` that is used. */
export interface WorkerLike {
  postMessage(message: Request, transfer: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent<Reply>) => void): void;
  addEventListener(type: "error", listener: (event: ErrorEvent) => void): void;
  addEventListener(type: "messageerror", listener: (event: MessageEvent) => void): void;
  terminate(): void;
}

interface Pending {
  resolve(value: never): void;
  reject(error: SetokimError): void;
  onProgress?: ((progress: LoadProgress) => void) | undefined;
  onEvent?: ((event: WasmEvent) => void) | undefined;
}

/** What a call may have besides its request. */
interface CallOptions extends Pick<Pending, "onProgress" | "onEvent"> {
  transfer?: Transferable[];
  /** Told to the worker; the call ends when the worker says so. */
  signal?: AbortSignal | undefined;
}

export class RemoteHost implements Host {
  readonly #worker: WorkerLike;
  readonly #why: () => Promise<SetokimError>;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #started = false;
  #dead: SetokimError | undefined;
  #requests = 0;
  #memory = 0;
  /** Ends with this host: the watch over the worker's lock, and what the worker fetches through the page. */
  readonly #watching = new AbortController();

  /** `why` is asked when the worker does not start; `watched` ends with this host. */
  constructor(
    worker: WorkerLike,
    why: () => Promise<SetokimError> = async () =>
      new SetokimError("worker-unavailable", "the worker cannot be started"),
    watched?: { end(): void },
  ) {
    this.#worker = worker;
    this.#why = why;
    this.#watching.signal.addEventListener("abort", () => watched?.end(), { once: true });
    worker.addEventListener("message", ({ data }) => this.#receive(data));
    worker.addEventListener("error", (event) => this.#die(event));
    worker.addEventListener("messageerror", () => this.#die());
  }

  probe(wasmUrl?: string): Promise<DeviceReport> {
    return this.#call("probe", { wasmUrl });
  }

  load(request: LoadRequest, onProgress?: (progress: LoadProgress) => void, signal?: AbortSignal): Promise<LoadReply> {
    if (typeof request.fetch !== "function") return this.#call("load", request, { onProgress, signal });
    const { port1, port2 } = new MessageChannel();
    serveFetch(port1, request.fetch);
    this.#watching.signal.addEventListener("abort", () => port1.close(), { once: true });
    return this.#call("load", { ...request, fetch: port2 }, { onProgress, signal, transfer: [port2] });
  }

  tokenize(image: RequestImage): Promise<Tokenization> {
    return this.#call("tokenize", { image }, { transfer: transferablesOf(image) });
  }

  reconstruct(image: RequestImage): Promise<WasmReconstruction> {
    return this.#call("reconstruct", { image }, { transfer: transferablesOf(image) });
  }

  answer(request: AnswerRequest, onEvent: (event: WasmEvent) => void, signal: AbortSignal): Promise<WasmAnswer> {
    return this.#call("answer", request, { transfer: imagesOf(request).flatMap(transferablesOf), onEvent, signal });
  }

  requests(): number {
    return this.#requests;
  }

  memory(): number {
    return this.#memory;
  }

  get failure(): SetokimError | undefined {
    return this.#dead;
  }

  /** Frees the model in the worker, then ends the worker; waits for nothing if it already died. */
  async dispose(): Promise<void> {
    if (this.#dead === undefined) {
      const ended = this.#call("dispose", {});
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 500))]).catch(() => undefined);
    }
    this.#end(new SetokimError("disposed", "the model was given back"));
  }

  #call<K extends CallName>(
    type: K,
    body: Calls[K]["request"],
    { transfer = [], signal, onProgress, onEvent }: CallOptions = {},
  ): Promise<Calls[K]["reply"]> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead);
    if (signal?.aborted === true) return Promise.reject(abortedError(signal)); // its event will not come again
    const id = this.#nextId;
    this.#nextId += 1;
    const onAbort = (): void => this.#worker.postMessage({ type: "abort", id }, []);
    const reply = new Promise<Calls[K]["reply"]>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, onProgress, onEvent });
      try {
        this.#worker.postMessage({ type, id, body } as Request, transfer);
        signal?.addEventListener("abort", onAbort, { once: true });
      } catch (error) {
        this.#pending.delete(id);
        reject(new SetokimError("internal", "the request cannot be sent to the worker", { cause: error }));
      }
    });
    return reply.finally(() => signal?.removeEventListener("abort", onAbort));
  }

  #receive(reply: Reply): void {
    if (reply.type === "hello") {
      this.#started = true;
      if (reply.lock !== undefined) this.#watch(reply.lock);
      return;
    }
    const pending = this.#pending.get(reply.id);
    if (reply.type === "progress") {
      pending?.onProgress?.(reply.progress);
      return;
    }
    if (reply.type === "event") {
      pending?.onEvent?.(reply.event);
      return;
    }
    this.#requests = reply.requests;
    this.#memory = reply.memory;
    this.#pending.delete(reply.id);
    if (reply.type === "result") pending?.resolve(reply.value as never);
    else {
      const error = errorFromMessage(reply.error);
      pending?.reject(error);
      if (isFatal(error)) this.#end(error);
    }
  }

  /** A worker that ends without an error event (closed, or killed by the browser) still gives back its lock. */
  #watch(lock: string): void {
    const { signal } = this.#watching;
    navigator.locks.request(lock, { signal }, () => this.#die()).catch(() => undefined); // ended by ourselves
  }

  #die(event?: ErrorEvent): void {
    event?.preventDefault?.();
    const detail = event?.message ? `: ${event.message}` : "";
    if (this.#started) {
      this.#end(new SetokimError("crashed", `the worker stopped${detail}`));
    } else {
      this.#worker.terminate();
      void this.#why().then((error) => this.#end(error));
    }
  }

  #end(error: SetokimError): void {
    this.#dead ??= error;
    this.#watching.abort();
    this.#worker.terminate();
    for (const pending of this.#pending.values()) pending.reject(error);
    this.#pending.clear();
  }
}
