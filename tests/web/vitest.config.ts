import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: here("../.."),
  // The unit tests run without the WebAssembly module: a stand-in takes its place, here and nowhere else.
  resolve: { alias: [{ find: /^\.\.\/wasm\/setokim\.js$/, replacement: here("./fake-wasm.ts") }] },
  test: {
    include: ["tests/web/unit/**/*.test.ts", "tests/web/package*.test.ts"],
    environment: "node",
    testTimeout: 10_000,
  },
});
