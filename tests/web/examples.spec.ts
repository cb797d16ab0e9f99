/** Every example as it was built, under a strict content policy, with a tiny model: it loads and shows a result. */

import { fileURLToPath } from "node:url";
import { expect } from "@playwright/test";
import { fingerprint, test } from "./helpers.ts";

const sample = fileURLToPath(new URL("../../models/samples/beach.png", import.meta.url));

test("vite: tokens over a picture", async ({ page }) => {
  await page.goto("vite/index.html");
  await expect(page.locator("#status")).toContainText("Ready on the cpu");
  await page.getByLabel("Picture").setInputFiles(sample);
  await expect(page.locator("#status")).toHaveText(/^\d+ tokens$/);
  expect(await fingerprint(page, "#canvas")).not.toBe(0);
});

test("webpack: a mask, or the model's text", async ({ page }) => {
  await page.goto("webpack/index.html");
  await expect(page.locator("#status")).toHaveText("Ready");
  await page.getByLabel("Picture").setInputFiles(sample);
  await page.getByRole("button", { name: "Find" }).click();
  await expect(page.locator("#status")).toHaveText(/^(Found, \d+ % sure|Not found: )/);
});

test("static: a chat token by token, without a bundler", async ({ page }) => {
  await page.goto("static/index.html");
  await expect(page.locator("#status")).toHaveText("Ready");
  await page.getByLabel("Picture").setInputFiles(sample);
  await page.getByRole("button", { name: "Ask" }).click();
  await expect(page.locator("#status")).toHaveText(/^\d+ tokens$/);
});

test("react: an image from a prompt, in strict mode, which mounts everything twice", async ({ page }) => {
  await page.goto("react/index.html");
  await page.getByRole("button", { name: "Draw" }).click();
  await expect(page.getByRole("status")).toHaveText(/^Drawn with \d+ tokens$/);
  expect(await fingerprint(page, "canvas")).not.toBe(0);
});

test("own-worker: the model runs in the page's worker, and no other is started", async ({ page }) => {
  await page.goto("own-worker/index.html");
  await page.getByLabel("Picture").setInputFiles(sample);
  await expect(page.locator("#status")).toHaveText(/^\d+ tokens/);
  expect(page.workers()).toHaveLength(1);
});

test("esbuild: a worker that is an entry point of its own, and a wasm that was copied", async ({ page }) => {
  await page.goto("esbuild/index.html");
  await expect(page.locator("#status")).toContainText("Ready on the cpu");
  await page.getByLabel("Picture").setInputFiles(sample);
  await expect(page.locator("#status")).toHaveText(/^\d+ tokens/);
});
