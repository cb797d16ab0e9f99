/** The names of transformers.js that are accepted beside our own, so that its users need not look ours up. */

import type { DeviceAlias, DeviceChoice } from "./types.js";

interface Aliased {
  device?: DeviceChoice | DeviceAlias;
  maxTokens?: number;
  max_new_tokens?: number;
}

/** Options under our own names alone: `device` is not an alias, and what `max_new_tokens` said is in `maxTokens`. */
export function withoutAliases<T extends Aliased>(
  options: T,
): Omit<T, "device" | "max_new_tokens"> & { device?: DeviceChoice } {
  const { device, max_new_tokens: maxTokens, ...own } = options;
  return {
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...own,
    ...(device === undefined ? {} : { device: deviceOf(device) }),
  };
}

function deviceOf(device: DeviceChoice | DeviceAlias): DeviceChoice {
  if (device === "webgpu") return "gpu";
  return device === "wasm" ? "cpu" : device;
}
