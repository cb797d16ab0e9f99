/** What can be said of a model before it is downloaded: where it would run, what it takes, whether that is there. */

import { SetokimError } from "./errors.js";
import type { DeviceReport, ProbeReport } from "./types.js";

/** Half-precision weights are twice as large once they are in use, and the code and what it works on take some more.
 *  Measured: 61.5 MB for 23.9 MB of weights. */
const GROWTH = 2;
const BASE = 32e6;

/** WebAssembly memory ends at 4 GiB; some of it cannot be used in one piece. */
const WASM_LIMIT = 3.5e9;

/** Bytes of all files that a manifest names. */
export function downloadSize(manifest: string): number {
  const files = parsed(manifest);
  const sizes = files.map((file) => (file as { bytes?: unknown }).bytes);
  if (sizes.length === 0 || !sizes.every((bytes) => typeof bytes === "number")) {
    throw new SetokimError("manifest-invalid", "manifest.json does not say how large the files are");
  }
  return (sizes as number[]).reduce((sum, bytes) => sum + bytes, 0);
}

function parsed(manifest: string): unknown[] {
  try {
    const { files } = JSON.parse(manifest) as { files?: unknown };
    return Array.isArray(files) ? files : [];
  } catch (error) {
    throw new SetokimError("manifest-invalid", "manifest.json is not JSON", { cause: error });
  }
}

/** `download` is null when no model was named, `machine` (bytes of RAM) where the browser does not tell. */
export function probeReport(device: DeviceReport, download: number | null, machine: number | null): ProbeReport {
  const memory = download === null ? null : GROWTH * download + BASE;
  const limit = Math.min(WASM_LIMIT, machine === null ? Infinity : machine / 2);
  const fits = memory === null ? null : memory <= limit;
  return { ...device, download, memory, fits, verdict: verdict(device, memory, fits) };
}

function verdict({ device, reason }: DeviceReport, memory: number | null, fits: boolean | null): string {
  const runs = `Runs on the ${device === "gpu" ? "GPU" : "CPU"}: ${reason}.`;
  if (memory === null) return runs;
  const megabytes = `about ${Math.round(memory / 1e6)} MB of memory`;
  return fits === true
    ? `${runs} It takes ${megabytes}.`
    : `${runs} It takes ${megabytes}, which may be more than there is.`;
}
