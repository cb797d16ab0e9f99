/**
 * esbuild bundles scripts and copies nothing that they name by address, so that the package's worker is an entry point of
 * its own, and its wasm is copied beside it; main.ts says where both are.
 */

import { copyFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { build } from "esbuild";

const { resolve } = createRequire(import.meta.url);

await build({
  entryPoints: { main: "main.ts", worker: "setokim/worker" },
  bundle: true,
  format: "esm",
  minify: true,
  outdir: "dist",
});
await copyFile(resolve("setokim/wasm/setokim_bg.wasm"), "dist/setokim_bg.wasm");
await copyFile("index.html", "dist/index.html");
