/**
 * Makes the animation at the top of the README from the real page with the real model: `npm run animation`. Nothing in it is
 * staged but the pointer, which pictures of a page lack: what the model takes a second for takes a second.
 */

import { fileURLToPath } from "node:url";
import { type CDPSession, expect, type Locator, type Page, test } from "@playwright/test";
import sharp from "sharp";
import { openPage, settings } from "./helpers.ts";

/** Wide enough for all samples; shown three quarters as large. */
const SIZE = { width: 1280, height: 800 };
const WIDTH = 960;
/** Milliseconds that a frame is shown at the least. */
const SHORTEST = 40;
const FILE = fileURLToPath(new URL("../../docs/images/demo.webp", import.meta.url));
const LARGEST = 1_500_000;

test("the page in a dozen seconds", async ({ browser }) => {
  const context = await browser.newContext({ ...settings, viewport: SIZE });
  const page = await context.newPage();
  await openPage(page, "?model=setokim-tiny");
  const film = await Film.begin(page);

  await film.click(page.getByRole("button", { name: "Sample: White" }));
  await film.settled();
  await film.hold(500);
  const [bee, balloon] = [
    [0.35, 0.48],
    [0.69, 0.2],
  ] as const;
  for (const [x, y] of [bee, balloon]) {
    await film.hover(await placeIn(page.locator("#surface"), x, y));
    await film.hold(350);
  }

  await film.click(page.getByRole("button", { name: "what do you see?" }));
  await film.settled();
  await film.hold(800);
  await film.ask("Find", "the yellow balloon");
  await film.hold(1000);

  await film.click(page.getByRole("button", { name: "Sample: Room" }));
  await film.settled();
  await film.hold(300);
  await film.click(page.getByRole("switch", { name: "Overlay" })); // the colours as they are
  await film.ask("Edit", "put everything on a beach");
  await film.hold(1000);
  await film.click(page.getByRole("button", { name: "Undo" }));
  await film.settled();
  await film.hold(1200);

  const { bytes, seconds } = await film.write(FILE);
  console.log(`${seconds.toFixed(1)} seconds, ${Math.round(bytes / 1000)} kB`);
  expect(bytes).toBeLessThan(LARGEST);
  await context.close();
});

/** What the page shows, as it changes. */
class Film {
  readonly #page: Page;
  readonly #client: CDPSession;
  readonly #frames: { shot: Buffer; time: number }[] = [];
  #at = { x: 690, y: 660 };

  static async begin(page: Page): Promise<Film> {
    await addPointer(page);
    const film = new Film(page, await page.context().newCDPSession(page));
    await page.mouse.move(film.#at.x, film.#at.y);
    await film.#client.send("Page.startScreencast", { format: "jpeg", quality: 100 });
    await film.hold(400);
    return film;
  }

  private constructor(page: Page, client: CDPSession) {
    this.#page = page;
    this.#client = client;
    client.on("Page.screencastFrame", ({ data, sessionId, metadata }) => {
      this.#frames.push({ shot: Buffer.from(data, "base64"), time: 1000 * (metadata.timestamp ?? 0) });
      void client.send("Page.screencastFrameAck", { sessionId });
    });
  }

  /** Until the page has done what it was asked; a test's patience would show. */
  async settled(): Promise<void> {
    await this.#page.waitForSelector("#device-chip[data-state=ready]");
  }

  hold(milliseconds: number): Promise<void> {
    return this.#page.waitForTimeout(milliseconds);
  }

  /** Goes there in a few steps, faster in the middle. */
  async hover({ x, y }: { x: number; y: number }): Promise<void> {
    const from = this.#at;
    for (const part of [0.15, 0.5, 0.85, 1]) {
      await this.#page.mouse.move(from.x + (x - from.x) * part, from.y + (y - from.y) * part);
      await this.hold(SHORTEST);
    }
    this.#at = { x, y };
  }

  async click(target: Locator): Promise<void> {
    await expect(target).toBeInViewport({ ratio: 1 });
    await this.hover(await placeIn(target, 0.5, 0.5));
    await this.#page.mouse.down();
    await this.#page.mouse.up();
  }

  async ask(mode: "Find" | "Edit", words: string): Promise<void> {
    await this.click(this.#page.locator(".segments label", { hasText: mode }));
    await this.#page.locator("#words").pressSequentially(words, { delay: 15 });
    await this.hold(150);
    await this.#page.keyboard.press("Enter");
    await this.settled();
  }

  async write(file: string): Promise<{ bytes: number; seconds: number }> {
    await this.#client.send("Page.stopScreencast");
    const end = Date.now();
    const all = this.#frames.toSorted((a, b) => a.time - b.time);
    const frames = all.filter(({ time }, index) => (all[index + 1]?.time ?? end) - time >= SHORTEST);
    const delay = frames.map(({ time }, index) => Math.round((frames[index + 1]?.time ?? end) - time));
    const small = await Promise.all(frames.map(({ shot }) => sharp(shot).resize(WIDTH).png().toBuffer()));
    const { size } = await sharp(small, { join: { animated: true } })
      .webp({ delay, loop: 0, quality: 85, effort: 4, mixed: true, minSize: true })
      .toFile(file);
    return { bytes: size, seconds: delay.reduce((sum, each) => sum + each, 0) / 1000 };
  }
}

/** A pointer in the page that goes where the mouse goes. */
async function addPointer(page: Page): Promise<void> {
  await page.evaluate(() => {
    const pointer = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const arrow = document.createElementNS("http://www.w3.org/2000/svg", "path");
    arrow.setAttribute("d", "M2 1v17l4.2-3.9 2.8 6.3 2.9-1.3-2.8-6.1H15z");
    arrow.setAttribute("fill", "#111");
    arrow.setAttribute("stroke", "#fff");
    pointer.append(arrow);
    pointer.setAttribute("width", "24");
    pointer.setAttribute("height", "29");
    pointer.setAttribute("viewBox", "0 0 20 24");
    pointer.style.cssText = "position: fixed; left: 0; top: 0; z-index: 99; pointer-events: none";
    document.body.append(pointer);
    addEventListener("pointermove", ({ clientX, clientY }) => {
      pointer.style.setProperty("transform", `translate(${clientX}px, ${clientY}px)`);
    });
  });
}

/** A place in something that is shown, by parts of its width and height. */
async function placeIn(target: Locator, x: number, y: number): Promise<{ x: number; y: number }> {
  const box = await target.boundingBox();
  if (box === null) throw new Error("it is not shown");
  return { x: box.x + x * box.width, y: box.y + y * box.height };
}
