import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "@playwright/test";
import { port, settings } from "./helpers.ts";

/** The same flags as every other browser test here; Chromium brings WebGPU in software, so that no GPU is needed. */
const flags = JSON.parse(readFileSync(new URL("../browser/chromium-flags.json", import.meta.url), "utf8")) as string[];

export default defineConfig({
  testDir: fileURLToPath(new URL(".", import.meta.url)),
  outputDir: fileURLToPath(new URL("./results", import.meta.url)),
  // One at a time: two software GPUs on a small machine only wait for each other.
  workers: 1,
  fullyParallel: false,
  timeout: 300_000,
  expect: { timeout: 60_000 },
  forbidOnly: process.env["CI"] !== undefined,
  reporter: [["list"]],
  use: {
    ...settings,
    launchOptions: {
      executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
      // Playwright adds its own flags for headless mode; the file says which mode.
      args: [...flags, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
      ignoreDefaultArgs: ["--disable-features=WebGPU"],
    },
  },
  projects: [
    { name: "page", testMatch: /(page|install|chat|safety|worlds)\.spec\.ts/ },
    // The package without a bundler, from a plain server.
    {
      name: "lab",
      testMatch: /(lab|tasks|reliability|storage|start|pictures)\.spec\.ts/,
      use: { baseURL: `http://127.0.0.1:${port + 1}/` },
    },
    { name: "examples", testMatch: /examples\.spec\.ts/, use: { baseURL: `http://127.0.0.1:${port + 2}/` } },
  ],
  webServer: [
    {
      command: `npx vite preview --host 127.0.0.1 --port ${port} --strictPort`,
      cwd: fileURLToPath(new URL("../../www", import.meta.url)),
      url: `http://127.0.0.1:${port}/`,
      reuseExistingServer: false,
      timeout: 60_000,
    },
    {
      command: `node ${fileURLToPath(new URL("./static-server.mjs", import.meta.url))} ${port + 1}`,
      url: `http://127.0.0.1:${port + 1}/lab.html`,
      reuseExistingServer: false,
    },
    {
      command: `node ${fileURLToPath(new URL("./static-server.mjs", import.meta.url))} ${port + 2} examples`,
      url: `http://127.0.0.1:${port + 2}/static/index.html`,
      reuseExistingServer: false,
    },
  ],
});
