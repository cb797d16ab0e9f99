/**
 * The one error type of this package. Its codes are those of the Rust library (`src/error.rs`) and a few that can
 * only happen in a browser. An error keeps its code, message, remedy and cause when it crosses the worker boundary.
 */

/** Codes that come from the Rust library; the same on the command line. */
export type CoreErrorCode =
  | "image-decode"
  | "image-too-large"
  | "config-invalid"
  | "manifest-invalid"
  | "shard-corrupt"
  | "hash-mismatch"
  | "tensor-missing"
  | "tensor-shape"
  | "tensor-type"
  | "not-finite"
  | "clustering-invalid"
  | "gguf-invalid"
  | "tokenizer-invalid"
  | "prompt-invalid"
  | "context-overflow"
  | "setting-invalid"
  | "nothing-to-edit"
  | "edit-unsupported"
  | "unsupported"
  | "convert-unsupported"
  | "device-unavailable"
  | "device-lost"
  | "aborted"
  | "io";

/** Codes that only this package gives. */
export type BrowserErrorCode =
  /** A file could not be fetched, after the retries. */
  | "network"
  /** The engine stopped in the middle of its work (a trap in WebAssembly, or the worker died). The next call has a new one. */
  | "crashed"
  /** The browser gives no more memory. The message has the figures where they are known: before a load, not on a GPU. */
  | "out-of-memory"
  /** The call came after `dispose()`. */
  | "disposed"
  /** The browser lacks what the engine is compiled for: WebAssembly with SIMD. */
  | "browser-unsupported"
  /** The dedicated worker could not be started. */
  | "worker-unavailable"
  /** An error that none of the other codes describes: a bug, here or in the browser. */
  | "internal";

/** A WebAssembly memory of 32-bit addresses, in bytes. */
export const WASM_MEMORY = 2 ** 32;

export type SetokimErrorCode = CoreErrorCode | BrowserErrorCode;

const remedies: Record<SetokimErrorCode, string> = {
  "image-decode": "Use a whole PNG, JPEG, WebP or GIF file.",
  "image-too-large": "Scale the picture down first.",
  "config-invalid": "Compare the model's config.json with the documentation.",
  "manifest-invalid": "Export the model again, or download its manifest.json again.",
  "shard-corrupt": "Delete the cached file and download it again.",
  "hash-mismatch": "Delete the cached file and download it again.",
  "tensor-missing": "Check that config.json and the weights come from the same model.",
  "tensor-shape": "Check that config.json and the weights come from the same model.",
  "tensor-type": "Take the model as Q4_K_M, Q8_0, F16 or another of the types in docs/weights.md; every tensor counts.",
  "not-finite": "Check the weights and the input.",
  "clustering-invalid": "Check the clustering block of the model's config.json.",
  "gguf-invalid": "Download the GGUF file again.",
  "tokenizer-invalid": "Check that the vocabulary belongs to this model.",
  "prompt-invalid": "Change the request as the message says.",
  "context-overflow": "Shorten the request, drop earlier turns, or ask for fewer new tokens.",
  "setting-invalid": "Change the setting as the message says.",
  "nothing-to-edit": "Name a thing that is in the picture and does not fill it.",
  "edit-unsupported":
    "Ask to remove, recolour, blur, pixelate, brighten, darken or cut out a thing that is there, to turn it grey, or to replace it with a colour.",
  unsupported: "Load a model that has this part, and is of a kind that docs/weights.md lists.",
  "convert-unsupported": "See docs/convert.md for what can be converted, and what can be left out.",
  "device-unavailable": "Choose the device `cpu` or `auto`.",
  "device-lost": "Ask again: the engine starts anew; choose the device `cpu` if it happens often.",
  aborted: "Ask again to get an answer.",
  io: "Check that the file is there and may be read.",
  network: "Check the connection and the address of the model, then try again.",
  crashed: "Ask again: the engine starts anew; without a worker, open the page again.",
  "out-of-memory": "Load a smaller model or one that is packed more tightly (docs/weights.md), or close other tabs.",
  disposed: "Load the model again: this one was given back.",
  "browser-unsupported": "Use a newer browser: Chrome or Edge from 91, Firefox from 89, Safari from 16.4.",
  "worker-unavailable": "Allow workers from this origin, or load with `worker: false`.",
  internal: "Try again; if it happens twice, report it with the message and the browser's name.",
};

export interface SetokimErrorOptions {
  /** One sentence: what to do about it. Each code has one of its own; give another where more is known. */
  remedy?: string | undefined;
  cause?: unknown;
}

/** What every call of this package rejects with. */
export class SetokimError extends Error {
  override readonly name = "SetokimError";
  /** What went wrong, stable from release to release: switch on this, not on the message. */
  readonly code: SetokimErrorCode;
  /** One sentence for a person: what to do about it. */
  readonly remedy: string;

  constructor(code: SetokimErrorCode, message: string, options: SetokimErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.remedy = options.remedy ?? remedies[code];
  }
}

/** A `SetokimError` in a form that survives `postMessage` in every browser. */
export interface ErrorMessage {
  code: SetokimErrorCode;
  message: string;
  remedy: string;
  stack?: string | undefined;
  cause?: CauseMessage | undefined;
}

interface CauseMessage {
  name: string;
  message: string;
}

export function errorToMessage(error: SetokimError): ErrorMessage {
  const cause = error.cause;
  return {
    code: error.code,
    message: error.message,
    remedy: error.remedy,
    stack: error.stack,
    cause:
      cause === undefined
        ? undefined
        : cause instanceof Error
          ? { name: cause.name, message: cause.message }
          : { name: "Error", message: String(cause) },
  };
}

export function errorFromMessage(message: ErrorMessage): SetokimError {
  let cause: Error | undefined;
  if (message.cause !== undefined) {
    cause = new Error(message.cause.message);
    cause.name = message.cause.name;
  }
  const error = new SetokimError(message.code, message.message, { remedy: message.remedy, cause });
  if (message.stack !== undefined) error.stack = message.stack;
  return error;
}

/**
 * Whatever was thrown, as a `SetokimError`: the Rust layer throws plain errors with `code` and `remedy`, WebAssembly
 * traps are `crashed`, the rest gets `fallback`.
 */
export function asSetokimError(thrown: unknown, fallback: SetokimErrorCode = "internal"): SetokimError {
  if (thrown instanceof SetokimError) return thrown;
  if (typeof WebAssembly !== "undefined" && thrown instanceof WebAssembly.RuntimeError) return trapped(thrown);
  if (thrown instanceof Error) {
    const code: unknown = "code" in thrown ? thrown.code : undefined;
    const remedy: unknown = "remedy" in thrown ? thrown.remedy : undefined;
    if (isErrorCode(code)) {
      return new SetokimError(code, thrown.message, {
        remedy: typeof remedy === "string" ? remedy : undefined,
        cause: thrown.cause,
      });
    }
    return new SetokimError(fallback, thrown.message, { cause: thrown });
  }
  return new SetokimError(fallback, String(thrown), { cause: thrown });
}

/** `what` needs more bytes than there are. The browser does not say how many are free, only how many there can be. */
export function outOfMemory(needed: number, what: string, cause?: unknown): SetokimError {
  const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;
  const message = `${what} needs ${mebibytes(needed)}, and at most ${mebibytes(WASM_MEMORY)} can be had`;
  return new SetokimError("out-of-memory", message, { cause });
}

/** After these an engine can do no more work; another may. */
export function isFatal({ code }: SetokimError): boolean {
  return code === "crashed" || code === "device-lost" || code === "out-of-memory";
}

/** After a trap nothing of the WebAssembly instance may be called, not even to free it. */
export function isTrap({ cause }: SetokimError): boolean {
  return cause instanceof WebAssembly.RuntimeError;
}

/** A trap itself says only `unreachable`; what Rust said before it is left in the global scope (`src/web/mod.rs`). */
function trapped(trap: WebAssembly.RuntimeError): SetokimError {
  const scope = globalThis as { setokimPanic?: unknown };
  const panic = typeof scope.setokimPanic === "string" ? scope.setokimPanic : trap.message;
  delete scope.setokimPanic;
  const code = /out of memory|memory allocation/i.test(panic) ? "out-of-memory" : "crashed";
  return new SetokimError(code, `the engine stopped: ${panic}`, { cause: trap });
}

export function isErrorCode(value: unknown): value is SetokimErrorCode {
  return typeof value === "string" && Object.hasOwn(remedies, value);
}

/** The error that an aborted call rejects with; its cause is the reason given to `AbortController.abort()`. */
export function abortedError(signal: AbortSignal): SetokimError {
  const reason: unknown = signal.reason;
  return new SetokimError("aborted", "stopped on request", { cause: reason });
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortedError(signal);
}
