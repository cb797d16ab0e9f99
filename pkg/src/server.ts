/** The worker's half of the protocol: requests in, a `Host` does the work, replies out. */

import { asSetokimError, errorToMessage } from "./errors.js";
import type { Host } from "./host.js";
import type { CallMessage, CallName, Calls, Reply, Request } from "./protocol.js";
import type { WasmEvent, WasmPart } from "./wasm.js";

/** The part of a worker's global scope (or of a `MessagePort`) that is used. */
export interface ServerPort {
  postMessage(message: Reply, transfer: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent<Request>) => void): void;
}

export function serve(port: ServerPort, host: Host): void {
  const aborts = new Map<number, AbortController>();

  const answer = async (message: CallMessage, signal: AbortSignal): Promise<Calls[CallName]["reply"]> => {
    const { id } = message;
    switch (message.type) {
      case "probe":
        return host.probe(message.body.wasmUrl);
      case "load":
        return host.load(message.body, (progress) => port.postMessage({ type: "progress", id, progress }, []), signal);
      case "tokenize":
        return host.tokenize(message.body.image);
      case "reconstruct":
        return host.reconstruct(message.body.image);
      case "answer":
        return host.answer(
          message.body,
          (event) => port.postMessage({ type: "event", id, event }, buffersOfPart(event)),
          signal,
        );
      case "dispose":
        await host.dispose();
        return null;
    }
  };

  const state = (): { requests: number; memory: number } => ({ requests: host.requests(), memory: host.memory() });

  port.addEventListener("message", ({ data }) => {
    if (data.type === "abort") {
      aborts.get(data.id)?.abort();
      return;
    }
    const { id } = data;
    const abort = new AbortController();
    aborts.set(id, abort);
    answer(data, abort.signal)
      .finally(() => aborts.delete(id))
      .then(
        (value) => port.postMessage({ type: "result", id, value, ...state() }, buffersOf(value)),
        (error: unknown) => {
          const message = errorToMessage(asSetokimError(error));
          port.postMessage({ type: "error", id, error: message, ...state() }, []);
        },
      );
  });
  void lockForLife().then((lock) => port.postMessage({ type: "hello", lock }, []));
}

/** Takes a lock that only the end of this worker gives back; its name, or undefined where there are no locks. */
async function lockForLife(): Promise<string | undefined> {
  if (typeof navigator === "undefined" || navigator.locks === undefined) return undefined;
  const name = `setokim-worker-${crypto.randomUUID()}`;
  return new Promise((resolve) => {
    const held = navigator.locks.request(name, () => {
      resolve(name);
      return new Promise<never>(() => undefined);
    });
    held.catch(() => resolve(undefined)); // a page that may not have locks
  });
}

/** Labels and pixels are moved, not copied. */
function buffersOf(value: Calls[CallName]["reply"]): Transferable[] {
  if (value === null) return [];
  if ("rgba" in value) return [value.rgba.buffer, value.tokens.labels.buffer] as ArrayBuffer[];
  if ("labels" in value) return [value.labels.buffer as ArrayBuffer];
  if ("parts" in value) return value.parts.flatMap(buffersOfPart);
  return [];
}

function buffersOfPart(part: WasmPart | WasmEvent): Transferable[] {
  if (part.type === "mask") return [part.mask.bits.buffer as ArrayBuffer];
  if (part.type === "image") return [part.image.rgba.buffer, part.image.labels.buffer] as ArrayBuffer[];
  return [];
}
