/** The built page with models of both kinds beside it, of which a stand-in takes the place: its switch, words, camera, edits. */

import { readFileSync } from "node:fs";
import { expect, type Page } from "@playwright/test";
import {
  accessibilityFaults,
  test as base,
  fixture,
  middlePixel,
  openPage,
  savedFrom,
  settled,
  shot,
  tapPatch,
  useFakeModel,
  visit,
  watchLayoutShifts,
} from "./helpers.ts";

const test = base.extend<{ photos: Page }>({
  photos: async ({ page }, use) => {
    await useFakeModel(page);
    await listModels(page, "photo:photographs setokim-tiny:drawn");
    await openPage(page);
    await use(page);
  },
});

/** As if the page had been built beside other models. */
async function listModels(page: Page, models: string): Promise<void> {
  await page.route(/\/(\?.*)?$/, async (route) => {
    const response = await route.fetch();
    const body = (await response.text()).replace(/data-models="[^"]*"/, `data-models="${models}"`);
    await route.fulfill({ response, body });
  });
}

/** RGBA in parts of a picture's width and height. */
function pixelAt(page: Page, png: Buffer, x: number, y: number): Promise<number[]> {
  return page.evaluate(
    async ({ base64, x, y }) => {
      const image = new Image();
      image.src = `data:image/png;base64,${base64}`;
      await image.decode();
      const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
      const context = canvas.getContext("2d");
      if (context === null) throw new Error("no context");
      context.drawImage(image, 0, 0);
      return [...context.getImageData(Math.floor(x * image.width), Math.floor(y * image.height), 1, 1).data];
    },
    { base64: png.toString("base64"), x, y },
  );
}

test("opens with photographs where there are both, one click from the drawn world", async ({ page }) => {
  await useFakeModel(page);
  await listModels(page, "photo:photographs setokim-tiny:drawn");
  await page.goto("./?device=cpu");
  const there = page.getByRole("navigation", { name: "What the model knows" });
  await expect(there.getByRole("link", { name: "Photographs" })).toHaveAttribute("aria-current", "page");
  await expect(page.locator("#welcome-title")).toHaveText("A small model for photographs");
  await expect(page.locator("#welcome-can li")).toHaveCount(4);
  await expect(page.locator("#welcome-size")).toHaveText("1.0 MB");
  await expect(page.locator("#strip .sample")).toHaveCount(6);
  await expect(page.locator("#strip .sample img").last()).toBeVisible();
  await shot(page, "photos-welcome");
  expect(await accessibilityFaults(page)).toEqual([]);

  await there.getByRole("link", { name: "Drawn world" }).click();
  await expect(page).toHaveURL(/\?device=cpu&model=setokim-tiny$/);
  await expect(there.getByRole("link", { name: "Drawn world" })).toHaveAttribute("aria-current", "page");
  await expect(page.locator("#welcome-title")).toHaveText("A tiny model of a drawn world");
  await expect(page.locator("#strip .sample")).toHaveCount(8);
  await expect(page.getByRole("button", { name: "Compose a scene" })).toBeVisible();
  await expect(page.getByRole("button", { name: "Take a photo" })).toBeHidden();
  await page.goBack();
  await expect(page.locator("#welcome-title")).toHaveText("A small model for photographs");
});

test("is the drawn world where there is no other, and says nothing of photographs to come", async ({ page }) => {
  await useFakeModel(page);
  await visit(page);
  await settled(page);
  await expect(page.locator("html")).toHaveAttribute("data-models", /setokim-tiny:drawn/);
  await listModels(page, "setokim-tiny:drawn");
  await visit(page);
  await expect(page.locator("#worlds")).toBeHidden();
  await expect(page.locator("#hint")).toContainText("photographs are beyond what it knows");
  await expect(page.getByRole("radio", { name: "Reconstruction" })).toBeVisible();
  await expect(page.getByRole("radio", { name: "Compare" })).toBeHidden();
});

test("takes a model that was not there when it was built for what its config says", async ({ page }) => {
  await useFakeModel(page);
  await page.route("**/models/later/config.json", (route) => route.fulfill({ json: { vision: { kind: "siglip" } } }));
  await page.goto("./?model=later");
  await expect(page.locator("#welcome-title")).toHaveText("A small model for photographs");
  await page.goto("./?model=tiny-setokim");
  await expect(page.locator("#welcome-title")).toHaveText("A tiny model of a drawn world");
});

test("offers what a model of photographs can do, and no more", async ({ photos: page }) => {
  await expect(page.locator("#chat-intro .chat-lead")).toHaveText("Ask, find, edit.");
  await expect(page.locator("#chat-intro")).not.toContainText("drawn");
  for (const name of ["Draw", "Reconstruction"]) {
    await expect(page.getByRole("radio", { name, exact: true })).toBeHidden();
  }
  for (const name of ["Settings", "Compose a scene"]) await expect(page.getByRole("button", { name })).toBeHidden();
  await expect(page.getByRole("button", { name: "Take a photo" })).toBeVisible();
  await expect(page.locator("#hint")).toContainText("This one: Stéfan van der Walt, CC0.");
  await expect(page.locator("#words")).toHaveAttribute("placeholder", "Ask about this photo");
  await expect(page.locator("#suggestions button")).toHaveText([
    "Describe the photo.",
    "What is the dog doing?",
    "Find the dog",
    "Blur the background",
    "Cut out the dog",
    "Remove the frisbee",
  ]);
  await page.getByRole("button", { name: "Find the dog" }).click();
  await settled(page);
  await expect(page.locator("#legend")).toContainText("the dog");
  await expect(page.locator(".asked-words")).toHaveText("You: Find the dog");
  await expect(page.getByRole("radio", { name: "Ask", exact: true })).toBeChecked();
  await shot(page, "photos");
  expect(await accessibilityFaults(page)).toEqual([]);
});

test("names a token with how sure it is, and offers to cut it out, blur and remove it", async ({ photos: page }) => {
  const menu = page.getByRole("menu");
  await tapPatch(page, 5, 6); // the dog
  await expect(menu).toHaveAttribute("aria-label", "dog, 87 % sure");
  await expect(menu.getByRole("menuitem")).toHaveText([
    "Ask What is the dog doing?",
    "Ask What is at the top?",
    "Find the dog",
    "Edit cut out the dog",
    "Edit blur the dog",
    "Edit remove the dog",
    "Edit brighten the dog",
  ]);
  await shot(page, "photos-menu");
  expect(await accessibilityFaults(page)).toEqual([]);
  await page.keyboard.press("Escape");
  await tapPatch(page, 11, 7); // what has no name
  await expect(menu).toHaveAttribute("aria-label", "token 4");
  await expect(menu.getByRole("menuitem")).toHaveCount(1);
  await page.keyboard.press("Enter");
  await settled(page);
  await expect(page.locator(".asked-words")).toHaveText("You: What is at the bottom?");
});

test("edits a photo, and compares it with what it was", async ({ photos: page }) => {
  const compare = page.getByRole("radio", { name: "Compare" });
  await expect(compare).toBeDisabled();
  await page.getByRole("button", { name: "Remove the frisbee" }).click();
  await expect(page.locator("#surface")).toHaveAttribute("aria-label", "Remove the frisbee, 5 tokens");
  await settled(page);
  const turn = page.locator(".turn").last();
  // A quarter of it, and the dog's picture was not white there before.
  await expect(turn.locator("figcaption")).toHaveText(/^2[45] % of the picture changed$/);
  await expect(turn.locator(".answer-meta")).toHaveText(/^\d\.\d s$/);
  for (const name of ["Again", "Tokens"]) {
    await expect(turn.getByRole("button", { name, exact: true })).toHaveCount(0);
  }
  await expect(page.locator("#live")).toHaveText(/^(Answer 1: a picture\.|Remove the frisbee: 5 tokens\.)$/);

  // All of it is seen at once, without the tokens over it.
  await expect(compare).toBeChecked();
  await expect(page.locator("#compare")).toHaveCSS("--at", "0%");
  await page.getByRole("radio", { name: "Tokens" }).first().check();
  await expect(page.locator("#surface")).toBeVisible();
  await compare.check();
  await expect(page.locator("#compare")).toHaveCSS("--at", "50%");
  await expect(page.locator("#compare-left")).toHaveText("Before");
  await expect(page.locator("#compare-range")).toHaveAccessibleName(/^How much of the picture before the edit/);
  expect(await middlePixel(page, "#compare-after")).toEqual([255, 255, 255, 255]);
  expect(await middlePixel(page, "#compare-before")).not.toEqual([255, 255, 255, 255]);
  await shot(page, "photos-compare");
  expect(await accessibilityFaults(page)).toEqual([]);
  // What was not made by an edit has nothing to be compared with.
  await page.getByRole("button", { name: "Undo" }).click();
  await expect(page.getByRole("radio", { name: "Tokens" }).first()).toBeChecked();
  await expect(compare).toBeDisabled();
  await expect(page.locator("#surface")).toBeVisible();
});

test("saves an edited photo in all its pixels, and cut-outs with transparency", async ({ photos: page }) => {
  await page.getByRole("button", { name: "Cut out the dog" }).click();
  await expect(page.locator("#surface")).toHaveAttribute("aria-label", "Cut out the dog, 5 tokens");
  await settled(page);
  const edited = readFileSync(await (await savedFrom(page, "#export", "The picture")).path());
  expect([edited.readUInt32BE(16), edited.readUInt32BE(20)]).toEqual([451, 300]);
  expect((await pixelAt(page, edited, 0.1, 0.1))[3]).toBe(0);
  expect((await pixelAt(page, edited, 0.5, 0.5))[3]).toBe(255);

  await page.getByRole("button", { name: "Undo" }).click();
  await settled(page);
  await page.getByRole("button", { name: "Find the dog" }).click();
  await settled(page);
  const saved = await savedFrom(page, "#export", "The cut-out of the dog");
  expect(saved.suggestedFilename()).toBe("the-dog-cut.png");
  const cut = readFileSync(await saved.path());
  expect([cut.readUInt32BE(16), cut.readUInt32BE(20)]).toEqual([451, 300]);
  expect((await pixelAt(page, cut, 0.1, 0.1))[3]).toBe(0);
  expect((await pixelAt(page, cut, 0.44, 0.34))[3]).toBe(255);

  await page.locator("#token-2").click();
  const token = readFileSync(await (await savedFrom(page, "#export", "The chosen token, cut out")).path());
  expect((await pixelAt(page, token, 0.65, 0.33))[3]).toBe(255);
  expect((await pixelAt(page, token, 0.44, 0.34))[3]).toBe(0);
});

test("takes a photo with the camera, which is on only while it is shown", async ({ photos: page }) => {
  await page.evaluate(() => {
    const { mediaDevices } = navigator;
    const original = mediaDevices.getUserMedia.bind(mediaDevices);
    const streams: MediaStream[] = [];
    Object.assign(globalThis, { streams });
    mediaDevices.getUserMedia = async (constraints) => {
      const stream = await original(constraints);
      streams.push(stream);
      return stream;
    };
  });
  const live = (): Promise<number> =>
    page.evaluate(
      () =>
        (globalThis as unknown as { streams: MediaStream[] }).streams
          .flatMap((stream) => stream.getTracks())
          .filter(({ readyState }) => readyState === "live").length,
    );
  const opener = page.getByRole("button", { name: "Take a photo" });
  const dialog = page.getByRole("dialog", { name: "Take a photo" });
  const shutter = dialog.getByRole("button", { name: "Take the photo" });
  await opener.click();
  await expect(shutter).toBeEnabled();
  expect(await live()).toBe(1);
  await shot(page, "camera");
  expect(await accessibilityFaults(page)).toEqual([]);
  await page.keyboard.press("Escape");
  await expect(dialog).toBeHidden();
  expect(await live()).toBe(0);
  await expect(opener).toBeFocused();

  await opener.click();
  await expect(shutter).toBeEnabled();
  await shutter.click();
  await expect(page.locator("#surface")).toHaveAttribute("aria-label", "Photo from the camera, 5 tokens");
  expect((await middlePixel(page, "#picture"))[3]).toBe(255);
  expect(await live()).toBe(0);
  await settled(page);
  await expect(page.locator("#sent")).toHaveText("0 bytes sent");
});

for (const [name, words] of [
  ["NotAllowedError", "This page may not use the camera."],
  ["NotFoundError", "There is no camera on this device."],
  ["AbortError", "The camera could not be started."],
] as const) {
  test(`says why there is no camera: ${name}`, async ({ photos: page }) => {
    await page.evaluate((error) => {
      navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", error));
    }, name);
    await page.getByRole("button", { name: "Take a photo" }).click();
    await expect(page.locator("#camera-status")).toContainText(words);
    await expect(page.getByRole("button", { name: "Take the photo" })).toBeDisabled();
    expect(await accessibilityFaults(page)).toEqual([]);
    await page.getByRole("button", { name: "Close" }).click();
    await page.locator("#file").setInputFiles(fixture("noise.png"));
    await expect(page.locator("#surface")).toHaveAttribute("aria-label", /^noise\.png, /);
  });
}

test("turns to the other camera where there are two, and turns off one that comes late", async ({ photos: page }) => {
  await page.evaluate(() => {
    const { mediaDevices } = navigator;
    const original = mediaDevices.getUserMedia.bind(mediaDevices);
    const asked: unknown[] = [];
    const streams: MediaStream[] = [];
    Object.assign(globalThis, { asked, streams });
    mediaDevices.getUserMedia = async (constraints) => {
      asked.push((constraints?.video as MediaTrackConstraints | undefined)?.facingMode);
      await new Promise((resolve) => setTimeout(resolve, 300));
      const stream = await original({ video: true });
      streams.push(stream);
      return stream;
    };
    mediaDevices.enumerateDevices = async () => [{ kind: "videoinput" }, { kind: "videoinput" }] as MediaDeviceInfo[];
  });
  const opener = page.getByRole("button", { name: "Take a photo" });
  await opener.click();
  await page.getByRole("button", { name: "The other camera" }).click();
  await expect(page.locator("#camera-view")).toHaveClass("mirrored");
  await expect(page.getByRole("button", { name: "Take the photo" })).toBeEnabled();
  expect(await page.evaluate(() => (globalThis as unknown as { asked: unknown[] }).asked)).toEqual([
    "environment",
    "user",
  ]);
  await page.keyboard.press("Escape");
  await opener.click();
  await page.keyboard.press("Escape"); // before it has come
  const tracks = (): Promise<string[]> =>
    page.evaluate(() =>
      (globalThis as unknown as { streams: MediaStream[] }).streams.flatMap((stream) =>
        stream.getTracks().map(({ readyState }) => readyState),
      ),
    );
  await expect.poll(tracks).toEqual(["ended", "ended", "ended"]);
});

test("fits a phone, in both colours, and stays in place while it loads", async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 844 });
  const shifts = await watchLayoutShifts(page);
  await useFakeModel(page);
  await listModels(page, "photo:photographs setokim-tiny:drawn");
  await page.goto("./");
  await expect(page.locator("#welcome-verdict")).toContainText("Runs on");
  await shot(page, "photos-phone-welcome");
  await expect(page.getByRole("button", { name: "Download and start" })).toBeInViewport({ ratio: 1 });
  expect(await accessibilityFaults(page)).toEqual([]);
  await page.getByRole("button", { name: "Download and start" }).click();
  await expect(page.locator("#token-count")).not.toHaveText("–");
  await settled(page);
  expect(await shifts()).toBeLessThan(0.02);
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    await shot(page, `photos-phone-${colorScheme}`);
    expect(await accessibilityFaults(page)).toEqual([]);
  }
});
