import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, type Download, type Page } from "@playwright/test";

export const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/pictures/${name}`, import.meta.url));

export const fixtureBytes = (name: string): Buffer => readFileSync(fixture(name));

/** Ready, and nothing under way. */
export async function settled(page: Page, timeout = 60_000): Promise<void> {
  await expect(page.locator("#device-chip")).toHaveAttribute("data-state", "ready", { timeout });
}

/** Opens the page and waits for the tokens of the first sample. */
export async function openPage(page: Page, query = ""): Promise<void> {
  await page.goto(`./${query}`);
  await expect(page.locator("#token-count")).not.toHaveText("–", { timeout: 60_000 });
  await settled(page);
}

export async function tokenCount(page: Page): Promise<number> {
  return Number(await page.locator("#token-count").textContent());
}

export interface ExportedTokens {
  image: { width: number; height: number };
  grid: [number, number];
  labels: number[];
  crop: { x: number; y: number; width: number; height: number };
  tokens: { id: number; center: [number, number]; patches: number; score: number }[];
  names: { name: string; confidence: number }[] | null;
  device: string;
  timings_ms: Record<string, number>;
}

/** The tokens as the page saves them: what a test reads numbers back from. */
export async function exportedTokens(page: Page): Promise<ExportedTokens> {
  const [download] = await Promise.all([page.waitForEvent("download"), page.locator("#export-json").click()]);
  return JSON.parse(await textOf(download)) as ExportedTokens;
}

async function textOf(download: Download): Promise<string> {
  return readFileSync(await download.path(), "utf8");
}

/** RGBA in the middle of a canvas, read back. */
export function middlePixel(page: Page, canvas: string): Promise<number[]> {
  return page.locator(canvas).evaluate((node) => {
    if (!(node instanceof HTMLCanvasElement)) throw new Error("not a canvas");
    const context = node.getContext("2d");
    if (context === null) throw new Error("no context");
    return [...context.getImageData(Math.floor(node.width / 2), Math.floor(node.height / 2), 1, 1).data];
  });
}

/** A sum over a canvas that changes when its pixels do. */
export function fingerprint(page: Page, canvas: string): Promise<number> {
  return page.locator(canvas).evaluate((node) => {
    if (!(node instanceof HTMLCanvasElement)) throw new Error("not a canvas");
    const context = node.getContext("2d");
    if (context === null) throw new Error("no context");
    const { data } = context.getImageData(0, 0, node.width, node.height);
    let sum = 0;
    for (let i = 0; i < data.length; i += 1) sum = (sum * 31 + (data[i] ?? 0)) >>> 0;
    return sum;
  });
}

/** Lets go of a file over the page, as from a file manager. */
export async function dropFile(page: Page, bytes: Buffer, name: string, type = "image/png"): Promise<void> {
  const transfer = await page.evaluateHandle(
    ({ base64, name: fileName, type: fileType }) => {
      const data = new DataTransfer();
      const file = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      data.items.add(new File([file], fileName, { type: fileType }));
      return data;
    },
    { base64: bytes.toString("base64"), name, type },
  );
  await page.dispatchEvent("#stage", "dragenter", { dataTransfer: transfer });
  await page.dispatchEvent("#stage", "dragover", { dataTransfer: transfer });
  await page.dispatchEvent("#stage", "drop", { dataTransfer: transfer });
}

const axe = readFileSync(fileURLToPath(new URL("../../node_modules/axe-core/axe.min.js", import.meta.url)), "utf8");

/** What axe finds wrong with the page as it is now, one line each. */
export async function accessibilityFaults(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  return page.evaluate(async () => {
    interface Axe {
      run(): Promise<{ violations: { id: string; help: string; nodes: { target: unknown }[] }[] }>;
    }
    const { violations } = await (globalThis as unknown as { axe: Axe }).axe.run();
    return violations.map(({ id, help, nodes }) => `${id}: ${help} (${nodes.map(({ target }) => String(target)).join(", ")})`);
  });
}
