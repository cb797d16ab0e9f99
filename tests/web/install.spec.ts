/** The built page as something that is kept: weights in storage, no network, installed, and small. */

import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { expect } from "@playwright/test";
import { openPage, settings, settled, test, tokenCount, visit } from "./helpers.ts";

test("holds the weights in another precision, from storage", async ({ page }) => {
  const shards: string[] = [];
  page.on("request", (request) => {
    if (request.url().endsWith(".safetensors")) shards.push(request.url());
  });
  await openPage(page);
  const held = page.locator("#weights-held");
  await expect(held).toHaveText(/^\d+\.\d MB, as stored$/);
  const before = Number.parseFloat((await held.textContent()) ?? "");
  await page.getByLabel("Precision").selectOption("4 bits");
  await expect(held).toHaveText(/^\d+\.\d MB, in 4 bits$/);
  await settled(page);
  expect(Number.parseFloat((await held.textContent()) ?? "")).toBeLessThan(before);
  await expect(page.locator("#model-size")).toContainText("kept in this browser");
  await page.locator("#words").fill("what do you see?");
  await page.locator("#words").press("Enter");
  await expect(page.locator(".answer-text")).not.toBeEmpty();
  await settled(page);
  await expect(page.locator(".answer-problem")).toHaveCount(0);
  expect(shards).toHaveLength(1);
});

test("opens without a network the second time, the model from the browser's storage", async ({ browser }) => {
  const context = await browser.newContext({ ...settings, serviceWorkers: "allow" });
  const page = await context.newPage();
  await openPage(page);
  await expect(page.locator("#model-size")).not.toContainText("kept");
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
  await context.setOffline(true);
  await page.reload();
  await expect(page.locator("#token-count")).not.toHaveText("–", { timeout: 120_000 });
  await settled(page);
  await expect(page.locator("#model-size")).toContainText("kept in this browser");
  await page.getByRole("button", { name: "Sample" }).nth(2).click();
  await settled(page);
  expect(await tokenCount(page)).toBeGreaterThan(0);
  await page.getByRole("button", { name: "Compose a scene" }).click(); // its sprites are kept too
  await page.getByRole("button", { name: "Use this picture" }).click();
  await expect(page.locator("#surface")).toHaveAttribute(
    "aria-label",
    /^an owl and a red balloon on grass, \d+ tokens$/,
  );
  await context.close();
});

test("can be installed", async ({ page, context }) => {
  await visit(page);
  const client = await context.newCDPSession(page);
  const { installabilityErrors } = await client.send("Page.getInstallabilityErrors");
  // Tests run in private windows, where nothing can be installed.
  expect(installabilityErrors.map(({ errorId }) => errorId).filter((id) => id !== "in-incognito")).toEqual([]);
});

test("is at most 150 kB of script beside the wasm, gzipped", async () => {
  const folder = new URL("../../www/dist/assets/", import.meta.url);
  const scripts = readdirSync(folder).filter((name) => name.endsWith(".js"));
  const sizes = scripts.map((name) => gzipSync(readFileSync(new URL(name, folder))).byteLength);
  expect(scripts.length).toBeGreaterThan(1);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(150_000);
});
