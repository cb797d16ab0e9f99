/**
 * What `npm pack` would publish, and whether everything that package.json points at is in it. Part of
 * `npm run check:package`, which also judges how the types resolve: both need the wasm.
 */

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { beforeAll, describe, expect, it } from "vitest";

/** Of the scripts together, gzipped: what a page pays before the wasm. */
const SCRIPTS = 45_000;
/** Of all that is published beside the wasm, unpacked. How large the wasm may be is said in xtask/src/wasm.rs. */
const BESIDE_WASM = 1_500_000;

const folder = fileURLToPath(new URL("../../pkg/", import.meta.url));
const manifest = JSON.parse(readFileSync(`${folder}package.json`, "utf8")) as {
  exports: Record<string, string | Record<string, string>>;
  types: string;
  main: string;
  sideEffects: string[];
};
let files: string[];
let besideWasm: number;

beforeAll(() => {
  const answer = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
    cwd: folder,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [pack] = Object.values(JSON.parse(answer) as Record<string, { files: { path: string; size: number }[] }>);
  files = pack?.files.map(({ path }) => path) ?? [];
  besideWasm = pack?.files.reduce((sum, { path, size }) => (path.endsWith(".wasm") ? sum : sum + size), 0) ?? Infinity;
}, 60_000);

describe("the package", () => {
  it("has everything that its exports name", () => {
    const named = Object.values(manifest.exports).flatMap((entry) =>
      typeof entry === "string" ? [entry] : Object.values(entry),
    );
    for (const path of [...named, manifest.main, manifest.types]) {
      const file = path.replace(/^\.\//, "");
      expect(files).toContain(file);
    }
  });

  it("has its declarations and source maps, and no sources, tests or stand-ins", () => {
    expect(files).toContain("README.md");
    expect(files.filter((file) => file.startsWith("dist/") && file.endsWith(".js")).length).toBeGreaterThan(10);
    for (const file of files) {
      expect(file).toMatch(
        /^(dist\/.*\.(js|js\.map|d\.ts)|wasm\/setokim(_bg)?\.(js|wasm|d\.ts|wasm\.d\.ts)|README\.md|LICENSE|THIRD-PARTY-LICENSES\.txt|package\.json)$/,
      );
    }
  });

  it("carries the licence of the project", () => {
    expect(files).toContain("LICENSE");
    expect(readFileSync(`${folder}LICENSE`, "utf8")).toBe(readFileSync(`${folder}../LICENSE`, "utf8"));
  });

  it("carries the licence texts of what is linked into the wasm", () => {
    expect(files).toContain("THIRD-PARTY-LICENSES.txt");
    const texts = readFileSync(`${folder}THIRD-PARTY-LICENSES.txt`, "utf8");
    for (const crate of ["burn", "wgpu", "serde", "wasm-bindgen"]) expect(texts).toContain(crate);
  });

  it("is as large as it says, and no larger", () => {
    const scripts = files.filter((file) => file.startsWith("dist/") && file.endsWith(".js"));
    const bytes = gzipSync(Buffer.concat(scripts.map((file) => readFileSync(folder + file)))).byteLength;
    expect(bytes).toBeLessThan(SCRIPTS);
    expect(besideWasm).toBeLessThan(BESIDE_WASM);
    expect(files.length).toBeLessThan(130);
  });

  it("declares as a side effect what runs by being imported, and nothing else", () => {
    expect(manifest.sideEffects).toEqual(["./dist/worker.js"]);
    for (const file of files.filter((each) => /^dist\/.*\.js$/.test(each))) {
      // A statement at the first column that is a call: what a bundler must not drop.
      const calls = /^[a-zA-Z.]+\(/m.test(readFileSync(folder + file, "utf8"));
      expect(calls, file).toBe(file === "dist/worker.js");
    }
  });

  it("imports nothing by a bare name: a plain server is enough", () => {
    for (const file of files.filter((each) => each.startsWith("dist/") && each.endsWith(".js"))) {
      const imports = [...readFileSync(folder + file, "utf8").matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)];
      for (const [, path] of imports) expect(path, file).toMatch(/^\.\.?\/.*\.js$/);
    }
  });
});
