import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type BrowserContextOptions, test as base, type Download, expect, type Page } from "@playwright/test";

export const port = Number(process.env["SETOKIM_TEST_PORT"] ?? 4317);

export const settings: BrowserContextOptions = {
  baseURL: `http://127.0.0.1:${port}/`,
  viewport: { width: 1280, height: 860 },
  colorScheme: "light",
  reducedMotion: "reduce",
  acceptDownloads: true,
  // The page works without its service worker; one test lets it in.
  serviceWorkers: "block",
};

/** Uncaught errors and breaches of the content policy, of every page that a test opens; none is forgiven. */
function watch(page: Page): string[] {
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("console", (message) => {
    if (/content security policy/i.test(message.text())) problems.push(message.text());
  });
  return problems;
}

/**
 * `page` is fresh. `ready` is one page with a loaded model that the tests of a worker share, put back to its first
 * state before each: loading is most of the time that a test would take.
 */
export const test = base.extend<{ ready: Page }, { loaded: { page: Page; problems: string[] } }>({
  page: async ({ page }, use) => {
    const problems = watch(page);
    await use(page);
    expect(problems).toEqual([]);
  },
  loaded: [
    async ({ browser }, use) => {
      const context = await browser.newContext(settings);
      const page = await context.newPage();
      const problems = watch(page);
      await openPage(page);
      await use({ page, problems });
      await context.close();
    },
    { scope: "worker", timeout: 300_000 },
  ],
  ready: async ({ loaded: { page, problems } }, use) => {
    problems.length = 0;
    await page.setViewportSize({ width: 1280, height: 860 });
    await page.emulateMedia({ colorScheme: "light" });
    await page.mouse.move(1, 1);
    await page.evaluate(() => scrollTo(0, 0));
    await page
      .locator("#surface")
      .press("Escape", { timeout: 1000 })
      .catch(() => undefined);
    await page.locator("input[value=tokens]").check();
    await page.locator("#opacity").fill("45", { force: true });
    if (!(await page.locator("#overlay-on").isChecked())) await page.locator("#overlay-on").check();
    await page.getByRole("button", { name: "Sample" }).first().click();
    await settled(page);
    await use(page);
    expect(problems).toEqual([]);
  },
});

/** `SETOKIM_FULL=1`, set by `cargo xtask test --full`: the tests that take minutes, and long soaks. */
export const isFull = process.env["SETOKIM_FULL"] === "1";

/** A picture of this state, to look at and not compared; there are dozens, and each takes a software GPU its time. */
export async function shot(page: Page, name: string): Promise<void> {
  const path = `${import.meta.dirname}/screenshots/${name}.png`;
  if (isFull) await page.screenshot({ path, animations: "disabled" });
}

/** A test of minutes, of something that a shorter test covers in the main. */
export const slowTest = isFull ? test : test.skip;

export const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/pictures/${name}`, import.meta.url));

export const fixtureBytes = (name: string): Buffer => readFileSync(fixture(name));

/** Ready, and nothing under way. */
export async function settled(page: Page, timeout = 120_000): Promise<void> {
  await expect(page.locator("#device-chip")).toHaveAttribute("data-state", "ready", { timeout });
}

/** Opens the page; on a first visit it asks before it downloads a model. */
export async function visit(page: Page, query = ""): Promise<void> {
  await page.goto(`./${query}`);
  const start = page.getByRole("button", { name: "Download and start" });
  const chip = page.locator("#device-chip");
  // Until it knows whether the model is stored, the page looks as if it loaded.
  const loads = page.locator("#loading-bytes:not(:empty)");
  const isOpen = async (): Promise<boolean> =>
    (await start.isVisible()) ||
    (await loads.count()) > 0 ||
    (await chip.getAttribute("data-state")) === "ready" ||
    (await chip.textContent())?.trim() === "Not running";
  await expect.poll(isOpen).toBe(true);
  if (await start.isVisible()) await start.click();
}

/** Opens the page and waits for the tokens of the first sample. */
export async function openPage(page: Page, query = ""): Promise<void> {
  await visit(page, query);
  await expect(page.locator("#token-count")).not.toHaveText("–", { timeout: 120_000 });
  await settled(page);
}

const fakeModel = readFileSync(new URL("./fake-model.js", import.meta.url), "utf8");

/** A stand-in takes the place of whatever model the page loads. */
export async function useFakeModel(page: Page): Promise<void> {
  await page.route(/\/worker-[^/]*\.js$/, (route) =>
    route.fulfill({ body: fakeModel, contentType: "text/javascript" }),
  );
  await page.route("**/manifest.json", (route) => route.fulfill({ json: { files: [{ name: "fake", bytes: 1e6 }] } }));
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
  return JSON.parse(await textOf(await savedFrom(page, "#export", "The tokens"))) as ExportedTokens;
}

/** Chooses an entry of a menu that saves a file. */
export async function savedFrom(page: Page, button: string, entry: string): Promise<Download> {
  await page.locator(button).click();
  const item = page.getByRole("menuitem").filter({ hasText: new RegExp(`${entry}$`) });
  const [download] = await Promise.all([page.waitForEvent("download"), item.click()]);
  return download;
}

export async function textOf(download: Download): Promise<string> {
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
  // Colours that are still fading from one scheme to the other have no contrast to speak of.
  await page.evaluate(async () => {
    const frame = (): Promise<unknown> => new Promise((resolve) => requestAnimationFrame(resolve));
    for (let quiet = 0; quiet < 3; ) {
      await frame();
      // A colour that fades starts those that inherit it, a frame later.
      const fading = document.getAnimations().filter((animation) => animation instanceof CSSTransition);
      quiet = fading.length === 0 ? quiet + 1 : 0;
      await Promise.allSettled(fading.map((animation) => animation.finished));
    }
  });
  await page.evaluate(axe);
  return page.evaluate(async () => {
    interface Axe {
      run(): Promise<{ violations: { id: string; help: string; nodes: { target: unknown }[] }[] }>;
    }
    const { violations } = await (globalThis as unknown as { axe: Axe }).axe.run();
    return violations.map(
      ({ id, help, nodes }) => `${id}: ${help} (${nodes.map(({ target }) => String(target)).join(", ")})`,
    );
  });
}

/** Clicks the middle of a patch of the picture, of 16 by 16. */
export async function tapPatch(page: Page, row: number, column: number): Promise<void> {
  const box = await page.locator("#surface").boundingBox();
  if (box === null) throw new Error("the picture is not shown");
  await page.mouse.click(box.x + ((column + 0.5) / 16) * box.width, box.y + ((row + 0.5) / 16) * box.height);
}

/** From the page's next visit on: how much it moved without being asked, as a sum. */
export async function watchLayoutShifts(page: Page): Promise<() => Promise<number>> {
  await page.addInitScript(() => {
    const shifts: number[] = [];
    Object.assign(globalThis, { shifts });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) shifts.push((entry as unknown as { value: number }).value);
    }).observe({ type: "layout-shift", buffered: true });
  });
  return () =>
    page.evaluate(() => (globalThis as unknown as { shifts: number[] }).shifts.reduce((sum, value) => sum + value, 0));
}
