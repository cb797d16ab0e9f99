/** The built page with the real wasm and the real weights, as a person uses it. */

import { readFileSync } from "node:fs";
import { expect } from "@playwright/test";
import {
  accessibilityFaults,
  dropFile,
  exportedTokens,
  fingerprint,
  fixture,
  fixtureBytes,
  middlePixel,
  openPage,
  savedFrom,
  settled,
  shot,
  test,
  tokenCount,
  visit,
  watchLayoutShifts,
} from "./helpers.ts";

test("shows the tokens of a sample", async ({ ready: page }) => {
  const count = await tokenCount(page);
  expect(count).toBeGreaterThan(1);
  expect(count).toBeLessThanOrEqual(16);
  await expect(page.locator("#token-list [role=option]")).toHaveCount(count);
  await expect(page.locator("#device-chip")).toHaveText("Runs on the CPU");
  await expect(page.locator("#device-reason")).toContainText(/software|WebGPU/i);

  const tokens = await exportedTokens(page);
  expect(tokens.labels).toHaveLength(256);
  expect(tokens.grid).toEqual([16, 16]);
  expect(tokens.tokens).toHaveLength(count);
  for (const { id, patches, score } of tokens.tokens) {
    expect(tokens.labels.filter((label) => label === id)).toHaveLength(patches);
    expect(score).toBeGreaterThan(0);
  }
  expect(Object.keys(tokens.timings_ms)).toEqual(expect.arrayContaining(["preprocess", "encode", "cluster", "merge"]));

  // The overlay is drawn: read back, not looked at.
  expect((await middlePixel(page, "#picture"))[3]).toBe(255);
  expect((await middlePixel(page, "#overlay"))[3]).toBeGreaterThan(60);
  await shot(page, "tokens");

  const before = await fingerprint(page, "#overlay");
  await page.getByRole("button", { name: "Sample" }).nth(3).click();
  await expect(page.locator("#surface")).not.toHaveAttribute("aria-label", /Beach/);
  await settled(page);
  expect(await fingerprint(page, "#overlay")).not.toBe(before);
});

test("fades and hides the overlay", async ({ ready: page }) => {
  const alpha = async (): Promise<number> => (await middlePixel(page, "#overlay"))[3] ?? 0;
  await page.locator("#opacity").fill("90");
  expect(await alpha()).toBeGreaterThan(200);
  await page.locator("#opacity").fill("10");
  expect(await alpha()).toBeLessThan(80);
  await expect(page.locator("#overlay")).toHaveClass("on");
  await page.getByRole("switch", { name: "Overlay" }).click();
  await expect(page.locator("#overlay")).not.toHaveClass("on");
  await expect(page.locator("#opacity")).toBeDisabled();
});

test("goes from token to token by keyboard, on the picture and in the list", async ({ ready: page }) => {
  const selected = page.locator('#token-list [aria-selected="true"]');
  await page.locator("#surface").focus();
  await page.keyboard.press("ArrowRight");
  await expect(selected).toHaveCount(1);
  await expect(page.locator("#spot")).toHaveClass("on");
  await expect(page.locator("#live")).toContainText(/^Token \d+/);
  await expect(page.locator("#detail-patches")).toContainText("patch");
  await expect(page.locator("#detail-score")).not.toHaveText("–");
  await expect(page.locator("#detail-sure")).toHaveText(/^\d+(\.\d)? %$/);
  const reached = new Set<string>();
  for (const key of ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "ArrowUp", "ArrowRight"]) {
    await page.keyboard.press(key);
    reached.add((await selected.getAttribute("data-id")) ?? "");
  }
  expect(reached.size).toBeGreaterThan(1);
  await shot(page, "focus");
  await page.keyboard.press("Escape");
  await expect(selected).toHaveCount(0);
  await expect(page.locator("#spot")).not.toHaveClass("on");

  await page.locator("#token-list").focus();
  await page.keyboard.press("End");
  await expect(selected).toHaveAttribute("data-id", String((await tokenCount(page)) - 1));
  await page.keyboard.press("ArrowUp");
  await expect(selected).toHaveAttribute("data-id", String((await tokenCount(page)) - 2));
  await expect(page.locator("#token-list")).toHaveAttribute("aria-activedescendant", /^token-\d+$/);
});

test("shows the token under the pointer, and keeps one that is clicked", async ({ ready: page }) => {
  const { labels } = await exportedTokens(page);
  const box = await page.locator("#surface").boundingBox();
  if (box === null) throw new Error("the picture is not shown");
  const selected = page.locator('#token-list [aria-selected="true"]');
  for (const patch of [0, 20, 136, 255]) {
    const [row, column] = [Math.floor(patch / 16), patch % 16];
    const [x, y] = [box.x + ((column + 0.5) / 16) * box.width, box.y + ((row + 0.5) / 16) * box.height];
    await page.mouse.move(x, y);
    await expect(selected).toHaveAttribute("data-id", String(labels[patch]));
  }
  await page.mouse.click(box.x + box.width / 32, box.y + box.height / 32);
  await page.mouse.move(2, 2);
  await expect(selected).toHaveAttribute("data-id", String(labels[0]));
  await page.locator("#token-list [role=option]").last().hover();
  await expect(selected).toHaveAttribute("data-id", String((await tokenCount(page)) - 1));
});

test("draws the picture again from its tokens", async ({ ready: page }) => {
  await page.getByRole("radio", { name: "Reconstruction" }).check();
  await expect(page.locator("#compare")).not.toHaveClass(/waiting/);
  await settled(page);
  expect(await fingerprint(page, "#compare-after")).not.toBe(await fingerprint(page, "#compare-before"));
  await expect(page.locator("#time-list")).toContainText("detokenize");
  await page.locator("#compare-range").fill("25");
  await expect(page.locator("#compare")).toHaveCSS("--at", "25%");
  await shot(page, "reconstruction");
  await page.getByRole("button", { name: "Sample" }).nth(2).click();
  await settled(page);
  await expect(page.locator("#compare")).not.toHaveClass(/waiting/);
  expect(await accessibilityFaults(page)).toEqual([]);
});

test("opens pictures that are chosen, dropped or pasted", async ({ ready: page }) => {
  const surface = page.locator("#surface");
  await page.locator("#file").setInputFiles(fixture("noise.png"));
  await expect(surface).toHaveAttribute("aria-label", /^noise\.png, \d+ tokens?$/);
  await dropFile(page, fixtureBytes("orientation-6.jpg"), "sideways.jpg", "image/jpeg");
  await expect(surface).toHaveAttribute("aria-label", /^sideways\.jpg, \d+ tokens?$/);
  await settled(page);
  // Rust and the browser turn it the same way.
  const { image } = await exportedTokens(page);
  const shown = await page
    .locator("#picture")
    .evaluate((node) => (node as HTMLCanvasElement).width / (node as HTMLCanvasElement).height);
  expect(shown).toBeCloseTo(image.width / image.height, 1);

  await page.evaluate((base64) => {
    const data = new DataTransfer();
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    data.items.add(new File([bytes], "pasted.webp", { type: "image/webp" }));
    dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
  }, fixtureBytes("lossy.webp").toString("base64"));
  await expect(surface).toHaveAttribute("aria-label", /^pasted\.webp, \d+ tokens?$/);
});

test("knows what was composed", async ({ ready: page }) => {
  const dialog = page.getByRole("dialog", { name: "Compose a scene" });
  let known = 0;
  for (const [place, things] of [
    ["on grass", ["cat", "sunflower"]],
    ["in the snow", ["strawberry", "rocket"]],
    ["on a teal background", ["panda", "pizza"]],
  ] as const) {
    await page.getByRole("button", { name: "Compose a scene" }).click();
    await dialog.getByRole("button", { name: place }).click();
    while ((await dialog.locator(".scene-thing").count()) > 0) {
      await dialog.locator(".scene-thing").last().focus();
      await page.keyboard.press("Delete");
    }
    for (const thing of things) await dialog.getByRole("button", { name: `Add: ${thing}` }).click();
    await dialog.getByRole("button", { name: "Use this picture" }).click();
    await expect(page.locator("#surface")).toHaveAttribute(
      "aria-label",
      new RegExp(`${things[0]}.*${place}, \\d+ tokens`),
    );
    await settled(page);
    const { names } = await exportedTokens(page);
    known += things.filter((thing) => names?.some(({ name, confidence }) => name === thing && confidence > 0.5)).length;
  }
  expect(known).toBeGreaterThanOrEqual(4); // of six; of its own test scenes it knows .99 of the objects
});

test("says when a picture is not of the model's world, and only then", async ({ ready: page }) => {
  const hint = page.locator("#hint");
  for (const sample of await page.getByRole("button", { name: "Sample" }).all()) {
    await sample.click();
    await settled(page);
    await expect(hint).not.toHaveClass(/strange/);
  }
  for (const name of ["noise.png", "progressive.jpg"]) {
    await page.locator("#file").setInputFiles(fixture(name));
    await expect(page.locator("#surface")).toHaveAttribute("aria-label", new RegExp(`^${name}, `));
    await settled(page);
    await expect(hint).toHaveText(
      "This picture looks unlike the scenes that this small model was trained on; expect mistakes.",
    );
  }
  await shot(page, "unlike");
  expect(await accessibilityFaults(page)).toEqual([]);
});

test("says what is wrong with a bad file, and goes on", async ({ ready: page }) => {
  const notice = page.locator("#notice");
  const whole = fixtureBytes("noise.png");
  const bad: [name: string, bytes: Buffer, code: string][] = [
    ["letter.png", Buffer.from("Dear model, this is a letter."), "image-decode"],
    ["empty.png", Buffer.alloc(0), "image-decode"],
    ["huge.png", fixtureBytes("huge.png"), "image-too-large"],
    ["cut.png", whole.subarray(0, Math.floor(whole.byteLength / 2)), "image-decode"],
  ];
  for (const [name, bytes, code] of bad) {
    await dropFile(page, bytes, name);
    await expect(notice).toBeVisible();
    await expect(page.locator("#notice-message")).toContainText(name);
    await expect(page.locator("#notice-code")).toHaveText(code);
    await expect(page.locator("#notice-remedy")).not.toBeEmpty();
    await settled(page);
  }
  expect(await accessibilityFaults(page)).toEqual([]);
  await shot(page, "bad-file");
  await page.getByRole("button", { name: "Sample" }).nth(1).click();
  await expect(notice).toBeHidden();
  await settled(page);
  expect(await tokenCount(page)).toBeGreaterThan(1);
});

test("says what a first visit would download, and waits", async ({ page }) => {
  const shards: string[] = [];
  page.on("request", (request) => {
    if (request.url().endsWith(".safetensors")) shards.push(request.url());
  });
  await page.goto("./");
  const welcome = page.locator("#welcome");
  await expect(page.locator("#welcome-size")).toHaveText(/^\d+\.\d MB$/);
  await expect(page.locator("#welcome-verdict")).toHaveText(/^Runs on the CPU: .+ It takes about \d+ MB of memory\.$/);
  await expect(page.locator("#device-chip")).toHaveText("Not started");
  await expect(page.locator("#strip .sample img").first()).toBeVisible();
  await shot(page, "welcome");
  expect(await accessibilityFaults(page)).toEqual([]);
  expect(shards).toEqual([]);
  await page.getByRole("button", { name: "what do you see?" }).click({ force: true }); // nobody to answer yet
  await expect(page.locator(".turn")).toHaveCount(0);
  await page.getByRole("button", { name: "Download and start" }).click();
  await expect(welcome).toBeHidden();
  await settled(page);
  expect(shards.length).toBeGreaterThan(0);
  await page.reload(); // the second visit starts by itself
  await settled(page);
  await expect(welcome).toBeHidden();
});

test("stops a download on request, and begins again", async ({ page, context }) => {
  let go = (): void => undefined;
  const wait = new Promise<void>((resolve) => (go = resolve));
  await context.route("**/*.safetensors", async (route) => {
    await wait;
    await route.continue().catch(() => undefined); // of one that was stopped nobody waits
  });
  await visit(page, "?model=tiny-setokim");
  await expect(page.locator("#loading-bytes")).toContainText("MB");
  await page.getByRole("button", { name: "Stop" }).click();
  const start = page.getByRole("button", { name: "Download and start" });
  await expect(start).toBeFocused();
  await expect(page.locator("#device-chip")).toHaveText("Not started");
  expect(await accessibilityFaults(page)).toEqual([]);
  go();
  await start.click();
  await expect(page.locator("#token-count")).not.toHaveText("–", { timeout: 120_000 });
  await settled(page);
  await expect(page.locator("#notice")).toBeHidden();
});

test("says so when the weights are spoilt, and loads again on request", async ({ page, context }) => {
  let spoil = true;
  await context.route("**/*.safetensors", async (route) => {
    const response = await route.fetch();
    const body = await response.body();
    if (spoil) body.writeUInt8(body.readUInt8(5000) ^ 1, 5000);
    await route.fulfill({ response, body });
  });
  await visit(page);
  await expect(page.locator("#notice-code")).toHaveText("hash-mismatch", { timeout: 120_000 });
  await expect(page.locator("#device-chip")).toHaveAttribute("data-state", "failed");
  await shot(page, "spoilt-weights");
  spoil = false;
  await page.getByRole("button", { name: "Load again" }).click();
  await expect(page.locator("#token-count")).not.toHaveText("–", { timeout: 120_000 });
  await expect(page.locator("#notice")).toBeHidden();
});

test("says so when the model is not there", async ({ page }) => {
  await page.goto("./?model=no-such-model");
  await expect(page.locator("#notice-code")).toHaveText("network", { timeout: 120_000 });
  await expect(page.locator("#notice-message")).toContainText("404");
  await expect(page.locator("#notice-remedy")).not.toBeEmpty();
});

test("sends nothing once the model is there", async ({ ready: page }) => {
  const requests: string[] = [];
  page.on("request", (request) => {
    if (request.url().startsWith("http")) requests.push(request.url());
  });
  for (const index of [1, 4, 6]) {
    await page.getByRole("button", { name: "Sample" }).nth(index).click();
    await settled(page);
  }
  await page.locator("#file").setInputFiles(fixture("noise.png"));
  await expect(page.locator("#surface")).toHaveAttribute("aria-label", /^noise\.png, /);
  await page.getByRole("radio", { name: "Reconstruction" }).check();
  await settled(page);
  await expect(page.locator("#sent")).toHaveText("0 bytes sent");
  await expect(page.locator("#sent")).toHaveAttribute("data-requests", "0");

  // The counter counts, and whatever was sent before this request is in the list before it.
  await page.evaluate(() => fetch("icon.svg").then((response) => response.text()));
  await expect(page.locator("#sent")).toHaveText("1 request");
  expect(requests).toEqual([expect.stringMatching(/\/icon\.svg$/)]);
  await page.reload(); // what it counted is its own business
  await expect(page.locator("#token-count")).not.toHaveText("–", { timeout: 120_000 });
});

test("shows speed and memory, and deletes what is kept", async ({ page }) => {
  await openPage(page);
  await page.locator("#words").fill("what do you see?");
  await page.locator("#words").press("Enter");
  await expect(page.locator(".turn")).toHaveCount(1);
  await settled(page);
  await expect(page.locator("#answer-speed")).toHaveText(/^[\d,]+ tokens\/s$/);
  await expect(page.locator("#answer-time .time-list")).toContainText("reading");
  await expect(page.locator("#model-memory")).toHaveText(/^\d+\.\d MB$/);
  await page.locator("#bench").scrollIntoViewIfNeeded();
  await shot(page, "bench");
  expect(await accessibilityFaults(page)).toEqual([]);
  await page.getByRole("button", { name: "Delete setokim-tiny from this browser" }).click();
  await expect(page.locator("#cache-empty")).toBeVisible();
  await visit(page); // as for the first time
  await expect(page.locator("#cache-list")).toContainText("setokim-tiny", { timeout: 120_000 });
  await expect(page.locator("#model-size")).not.toContainText("kept");
});

test("reads from right to left too", async ({ ready: page }) => {
  await page.evaluate(() => (document.documentElement.dir = "rtl"));
  for (const width of [1280, 390]) {
    await page.setViewportSize({ width, height: 860 });
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(width);
    await shot(page, `rtl-${width}`);
  }
  expect(await accessibilityFaults(page)).toEqual([]);
  await page.evaluate(() => document.documentElement.removeAttribute("dir"));
});

test("changes the device, and says why it cannot", async ({ page }) => {
  await openPage(page, "?device=cpu");
  await expect(page.locator("#device")).toHaveValue("cpu");
  await expect(page.locator("#device-name")).toHaveText("CPU");
  const first = await exportedTokens(page);
  expect(first.device).toBe("cpu");
  await page.locator("#device").selectOption("auto");
  await settled(page);
  await expect(page.locator("#device-name")).toHaveText("CPU");
  expect((await exportedTokens(page)).labels).toEqual(first.labels);
});

test("runs on WebGPU: a tiny model on a software adapter", async ({ page }) => {
  test.setTimeout(400_000);
  await visit(page, "?model=tiny&device=gpu");
  // Minutes of shader compilation on a busy machine; a failure shows at once.
  await page.waitForFunction(
    () =>
      document.getElementById("token-count")?.textContent !== "–" ||
      document.getElementById("notice")?.hidden === false,
    undefined,
    { timeout: 360_000 },
  );
  await expect(page.locator("#notice-message")).toBeEmpty();
  await settled(page);
  await expect(page.locator("#device-chip")).toHaveText("Runs on the GPU");
  const onGpu = await exportedTokens(page);
  expect(onGpu.device).toBe("gpu");
  expect(onGpu.labels).toHaveLength(16);
  expect(onGpu.tokens.length).toBeGreaterThan(0);
  await shot(page, "gpu");

  await page.locator("#device").selectOption("cpu");
  await expect(page.locator("#device-chip")).toHaveText("Runs on the CPU", { timeout: 120_000 });
  await settled(page);
  expect((await exportedTokens(page)).labels).toEqual(onGpu.labels);
});

test("saves the picture with its overlay", async ({ ready: page }) => {
  const download = await savedFrom(page, "#export", "The picture with its tokens");
  expect(download.suggestedFilename()).toMatch(/-tokens\.png$/);
  const png = readFileSync(await download.path());
  expect(png.subarray(1, 4).toString()).toBe("PNG");
  expect(png.readUInt32BE(16)).toBeGreaterThanOrEqual(1024);
});

test("fits a phone", async ({ ready: page }) => {
  await page.setViewportSize({ width: 390, height: 844 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
  const surface = await page.locator("#surface").boundingBox();
  expect(surface?.width).toBeGreaterThan(330);
  // A tap is a click without a move before it.
  await page
    .locator("#surface")
    .dispatchEvent("click", { clientX: (surface?.x ?? 0) + 50, clientY: (surface?.y ?? 0) + 50 });
  await expect(page.locator('#token-list [aria-selected="true"]')).toHaveCount(1);
  await shot(page, "phone");
  expect(await accessibilityFaults(page)).toEqual([]);
});

for (const scheme of ["light", "dark"] as const) {
  test(`is accessible in ${scheme}`, async ({ ready: page }) => {
    await page.emulateMedia({ colorScheme: scheme });
    await page.locator("#surface").focus();
    await page.keyboard.press("ArrowDown");
    expect(await accessibilityFaults(page)).toEqual([]);
    await shot(page, scheme);
  });
}

test("is accessible and in place while it loads", async ({ page, context }) => {
  const shifts = await watchLayoutShifts(page);
  let go = (): void => undefined;
  const wait = new Promise<void>((resolve) => (go = resolve));
  await context.route("**/*.safetensors", async (route) => {
    await wait;
    await route.continue();
  });
  await visit(page, "?model=tiny-setokim"); // with a conversation: the whole of the page
  await expect(page.locator("#loading-bar")).toHaveAttribute("value", /^0/); // known from the manifest on
  await expect(page.locator("#strip .sample img").first()).toBeVisible();
  await expect(page.locator("#loading-bytes")).toContainText("MB");
  expect(await accessibilityFaults(page)).toEqual([]);
  await shot(page, "loading");
  go();
  await expect(page.locator("#token-count")).not.toHaveText("–", { timeout: 120_000 });
  await settled(page);
  expect(await shifts()).toBeLessThan(0.02);
});

test("remembers the colours that were chosen", async ({ page }) => {
  await page.goto("./?model=no-such-model");
  const background = (): Promise<string> =>
    page.evaluate(async () => {
      void getComputedStyle(document.body).backgroundColor; // a change of colours begins with its first look
      const fading = document.getAnimations().filter((animation) => animation instanceof CSSTransition);
      await Promise.allSettled(fading.map((animation) => animation.finished));
      return getComputedStyle(document.body).backgroundColor;
    });
  const light = await background();
  const button = page.getByRole("button", { name: /^Colours/ });
  await button.click();
  await button.click();
  await expect(button).toHaveAccessibleName("Colours: dark");
  const dark = await background();
  expect(dark).not.toBe(light);
  await page.reload();
  expect(await background()).toBe(dark);
});
