/** What callers without TypeScript pass: an option of a wrong kind, or one that there is not, is refused by its name. */

import { SetokimError } from "./errors.js";

/** Undefined when a value is of its kind, else what it should be, as in "a number". */
export type Kind = (value: unknown) => string | undefined;

const kind =
  (what: string, holds: (value: unknown) => boolean): Kind =>
  (value) =>
    holds(value) ? undefined : what;

export const isBoolean = kind("true or false", (value) => typeof value === "boolean");
export const isNumber = kind("a number", (value) => typeof value === "number" && !Number.isNaN(value));
/** Rust keeps these in 32 bits. */
export const isCount = kind("a whole number from 0", (value) => isWhole(value, 2 ** 32 - 1));
/** Above it JavaScript's numbers are not exact. */
export const isSeed = kind("a whole number from 0 to 2^53 - 1", (value) => isWhole(value, Number.MAX_SAFE_INTEGER));
export const isFunction = kind("a function", (value) => typeof value === "function");
export const isAddress = kind("an address", (value) => typeof value === "string" || tagOf(value) === "URL");
/** By what it has and not by `instanceof`: it may come from another frame. */
export const isSignal = kind("an AbortSignal", (value) => {
  const signal = value as Partial<AbortSignal> | null;
  return typeof signal?.aborted === "boolean" && typeof signal.addEventListener === "function";
});
export const isTexts = kind(
  "a list of texts",
  (value) => Array.isArray(value) && value.every((text) => typeof text === "string"),
);

export const isHeaders = kind(
  "an object of texts",
  (value) => tagOf(value) === "Object" && Object.values(value as object).every((text) => typeof text === "string"),
);

export function oneOf(...values: readonly string[]): Kind {
  const words = values.map((value) => `"${value}"`).join(", ");
  return kind(`one of ${words}`, (value) => typeof value === "string" && values.includes(value));
}

/**
 * Refuses options of a wrong kind, and those that `kinds` does not name; undefined is as if it were not given.
 *
 * Throws `setting-invalid`.
 */
export function checkOptions(options: unknown, kinds: Readonly<Record<string, Kind>>, prefix = ""): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new SetokimError(
      "setting-invalid",
      `${prefix === "" ? "the options are" : `\`${prefix}\` is`} not an object`,
    );
  }
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined) continue;
    const name = prefix === "" ? key : `${prefix}.${key}`;
    const kindOf = Object.hasOwn(kinds, key) ? kinds[key] : undefined;
    if (kindOf === undefined) {
      throw new SetokimError("setting-invalid", `there is no option \`${name}\``, {
        remedy: `Leave it out, or use one of: ${Object.keys(kinds).join(", ")}.`,
      });
    }
    const wanted = kindOf(value);
    if (wanted !== undefined) {
      throw new SetokimError("setting-invalid", `the option \`${name}\` is ${shown(value)}, not ${wanted}`);
    }
  }
}

/** Of `load`. */
export const loadKinds = {
  device: oneOf("auto", "gpu", "cpu", "webgpu", "wasm"),
  dtype: oneOf("stored", "f32", "q8_0", "q4_0"),
  onProgress: isFunction,
  signal: isSignal,
  worker: isBoolean,
  cache: isBoolean,
  warmUp: isBoolean,
  headers: isHeaders,
  fetch: isFunction,
  wasmUrl: isAddress,
  workerUrl: isAddress,
  onRecovery: isFunction,
} as const satisfies Record<string, Kind>;

/** Of `probe`. */
export const probeKinds = {
  model: isAddress,
  headers: isHeaders,
  fetch: isFunction,
  worker: isBoolean,
  wasmUrl: isAddress,
  workerUrl: isAddress,
  signal: isSignal,
} as const satisfies Record<string, Kind>;

/** Of `tokenize` and `reconstruct`. */
export const requestKinds = { signal: isSignal } as const satisfies Record<string, Kind>;

const diffusionKinds = { steps: isCount, guidance: isNumber, temperature: isNumber };

/** Of the tasks of a language model; what values they may have is Rust's to say. */
const answerKinds: Readonly<Record<string, Kind>> = {
  signal: isSignal,
  maxTokens: isCount,
  max_new_tokens: isCount,
  temperature: isNumber,
  topK: isCount,
  topP: isNumber,
  repetitionPenalty: isNumber,
  seed: isSeed,
  stop: isTexts,
  required: isBoolean,
  copyTokens: isBoolean,
  composite: isBoolean,
  diffusion: (value) => (typeof value === "object" && value !== null ? undefined : "an object"),
};

export function checkAnswerOptions(options: unknown): void {
  checkOptions(options, answerKinds);
  const { diffusion } = options as { diffusion?: unknown };
  if (diffusion !== undefined) checkOptions(diffusion, diffusionKinds, "diffusion");
}

function isWhole(value: unknown, most: number): boolean {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= most;
}

/** The value in a message: short, and without what it may hold. */
export function shown(value: unknown): string {
  if (typeof value === "string") return value.length > 40 ? "a long text" : JSON.stringify(value);
  if (typeof value === "number" || typeof value === "boolean" || typeof value === "bigint" || value == null) {
    return String(value);
  }
  return typeof value === "object" ? `of another kind (${tagOf(value)})` : `a ${typeof value}`;
}

/** By tag and not by `instanceof`: values also come from other frames. */
export function tagOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}
