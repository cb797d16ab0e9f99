/** The page's half of the protocol: a `Host` whose work is done in a worker. */

import { errorFromMessage, SetokimError } from "./errors.js";
import type { Host, LoadReply, LoadRequest } from "./host.js";
import { transferablesOf, type Picture } from "./image.js";
import type { Calls, CallName, Reply, Request } from "./protocol.js";
import type { DeviceReport, LoadProgress, Tokenization } from "./types.js";
import type { WasmReconstruction } from "./wasm.js";

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
}

export class RemoteHost implements Host {
  readonly #worker: WorkerLike;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #started = false;
  #dead: SetokimError | undefined;
  #requests = 0;

  constructor(worker: WorkerLike) {
    this.#worker = worker;
    worker.addEventListener("message", ({ data }) => this.#receive(data));
    worker.addEventListener("error", (event) => this.#die(event));
    worker.addEventListener("messageerror", () => this.#die());
  }

  probe(wasmUrl?: string): Promise<DeviceReport> {
    return this.#call("probe", { wasmUrl });
  }

  load(request: LoadRequest, onProgress?: (progress: LoadProgress) => void, signal?: AbortSignal): Promise<LoadReply> {
    const id = this.#nextId;
    const onAbort = (): void => this.#worker.postMessage({ type: "abort", id }, []);
    signal?.addEventListener("abort", onAbort, { once: true });
    return this.#call("load", request, [], onProgress).finally(() => signal?.removeEventListener("abort", onAbort));
  }

  tokenize(picture: Picture): Promise<Tokenization> {
    return this.#call("tokenize", { picture }, transferablesOf(picture));
  }

  reconstruct(picture: Picture): Promise<WasmReconstruction> {
    return this.#call("reconstruct", { picture }, transferablesOf(picture));
  }

  requests(): number {
    return this.#requests;
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
    transfer: Transferable[] = [],
    onProgress?: (progress: LoadProgress) => void,
  ): Promise<Calls[K]["reply"]> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead);
    const id = this.#nextId;
    this.#nextId += 1;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, onProgress });
      try {
        this.#worker.postMessage({ type, id, body } as Request, transfer);
      } catch (error) {
        this.#pending.delete(id);
        reject(new SetokimError("internal", "the request cannot be sent to the worker", { cause: error }));
      }
    });
  }

  #receive(reply: Reply): void {
    if (reply.type === "hello") {
      this.#started = true;
      return;
    }
    const pending = this.#pending.get(reply.id);
    if (reply.type === "progress") {
      pending?.onProgress?.(reply.progress);
      return;
    }
    this.#requests = reply.requests;
    this.#pending.delete(reply.id);
    if (reply.type === "result") pending?.resolve(reply.value as never);
    else {
      const error = errorFromMessage(reply.error);
      pending?.reject(error);
      if (error.code === "crashed") this.#end(error);
    }
  }

  #die(event?: ErrorEvent): void {
    event?.preventDefault?.();
    const detail = event?.message ? `: ${event.message}` : "";
    this.#end(
      this.#started
        ? new SetokimError("crashed", `the worker stopped${detail}`)
        : new SetokimError("worker-unavailable", `the worker cannot be started${detail}`),
    );
  }

  #end(error: SetokimError): void {
    this.#dead ??= error;
    this.#worker.terminate();
    for (const pending of this.#pending.values()) pending.reject(error);
    this.#pending.clear();
  }
}
