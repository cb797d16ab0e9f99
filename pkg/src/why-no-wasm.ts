/** Whether WebAssembly runs here, and why its module does not start. */

import { SetokimError } from "./errors.js";

/** Asked before megabytes are downloaded that could not be compiled. */
export function hasSimd(): boolean {
  if (typeof WebAssembly === "undefined") return false;
  // (module (func (result v128) i32.const 0 i8x16.splat i8x16.popcnt))
  // biome-ignore format: bytes
  const module = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11);
  return WebAssembly.validate(module);
}

/** The smallest module there is compiles, unless a content policy forbids all. */
export function checkPolicy(): void {
  try {
    new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
  } catch (error) {
    throw new SetokimError("browser-unsupported", "the content policy of this page or worker forbids WebAssembly", {
      remedy:
        "Add 'wasm-unsafe-eval' to script-src in the Content-Security-Policy of the page and of the worker's script; in an extension, to `content_security_policy` of its manifest.",
      cause: error,
    });
  }
}

const serveRemedy =
  "Serve setokim_bg.wasm from the package's folder `wasm` beside the script, or pass its address as `wasmUrl`.";

/** `blocked`: a content policy let nothing be fetched meanwhile. */
export function whyNoWasm(cause: unknown, blocked: boolean): SetokimError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const error = (why: string, remedy: string): SetokimError =>
    new SetokimError("network", `the WebAssembly module cannot be loaded: ${why}`, { remedy, cause });
  if (blocked) {
    const remedy = "Add the origin of setokim_bg.wasm ('self' for the page's own) to connect-src in that policy.";
    return error("the content policy forbids to fetch it", remedy);
  }
  // Some bundlers leave no address.
  if ((import.meta.url as string | undefined)?.includes("/.vite/deps/") === true) {
    const remedy = 'Add `optimizeDeps: { exclude: ["setokim"] }` to vite.config, and start the server anew.';
    return error("Vite's dependency optimiser left it out", remedy);
  }
  if (cause instanceof WebAssembly.CompileError) {
    return error(`something else is served in its place (${reason})`, serveRemedy);
  }
  return error(reason, serveRemedy);
}
