/** What is around the conversation of the built page: scenes, settings, files, and what it says while it cannot talk. */

import { readFileSync } from "node:fs";
import { expect } from "@playwright/test";
import { ask, test } from "./fake-chat.ts";
import {
  accessibilityFaults,
  fingerprint,
  openPage,
  savedFrom,
  settled,
  shot,
  slowTest,
  textOf,
  useFakeModel,
  visit,
  watchLayoutShifts,
} from "./helpers.ts";

test("composes a scene by keyboard and by mouse, as a picture to talk about", async ({ chat: page }) => {
  const dialog = page.getByRole("dialog", { name: "Compose a scene" });
  const status = dialog.locator("#scene-status");
  await page.getByRole("button", { name: "Compose a scene" }).click();
  await expect(status).toHaveText("an owl and a red balloon on grass");
  await shot(page, "chat-scene");
  expect(await accessibilityFaults(page)).toEqual([]);

  await dialog.getByRole("button", { name: "at night" }).click();
  await dialog.getByRole("button", { name: "Add: star" }).click();
  await dialog.getByRole("button", { name: "blue", exact: true }).click();
  await expect(status).toHaveText("an owl, a red balloon and a blue star at night");

  const owl = dialog.getByRole("button", { name: /^owl, / });
  await expect(owl).toHaveAttribute("aria-label", "owl, bottom left");
  await owl.focus();
  for (let i = 0; i < 2; i += 1) await page.keyboard.press("Shift+ArrowRight");
  await expect(owl).toHaveAttribute("aria-label", "owl, bottom");
  const size = async (): Promise<number> => (await owl.boundingBox())?.width ?? 0;
  const before = await size();
  await page.keyboard.press("+");
  await expect.poll(size).toBeGreaterThan(before);
  await page.keyboard.press("-");
  await expect.poll(size).toBe(before);

  const canvas = await fingerprint(page, "#scene-canvas");
  const board = await dialog.locator("#scene-board").boundingBox();
  if (board === null) throw new Error("the board is not shown");
  const balloon = dialog.getByRole("button", { name: /^red balloon/ });
  await balloon.hover();
  await page.mouse.down();
  await page.mouse.move(board.x + board.width * 0.85, board.y + board.height * 0.85, { steps: 4 });
  await page.mouse.up();
  await expect(balloon).toHaveAttribute("aria-label", "red balloon, bottom right");
  expect(await fingerprint(page, "#scene-canvas")).not.toBe(canvas);
  await page.keyboard.press("Delete");
  await expect(balloon).toHaveCount(0);
  await expect(status).toHaveText("an owl and a blue star at night");
  for (const name of ["cat", "dog", "bee"]) await dialog.getByRole("button", { name: `Add: ${name}` }).click();
  await expect(status).toHaveText("5 things: the model has not seen more.");
  await expect(dialog.getByRole("button", { name: "Add: fox" })).toHaveAttribute("aria-disabled", "true");
  await shot(page, "chat-scene-full");

  await dialog.getByRole("button", { name: "Use this picture" }).click();
  await expect(dialog).toBeHidden();
  await expect(page.locator("#surface")).toHaveAttribute("aria-label", /^an owl, .* at night, 5 tokens$/);
  await settled(page);
  await page.getByRole("button", { name: "Undo" }).click();
  await expect(page.locator("#surface")).toHaveAttribute("aria-label", "Beach, 5 tokens");
});

test("holds the weights in another precision, by keyboard, and remembers it", async ({ chat: page }) => {
  const precision = page.getByLabel("Precision");
  await expect(precision).toHaveValue("stored");
  await expect(precision).toHaveAccessibleDescription(/Fewer bits take less memory/);
  await expect(page.locator("#weights-stored")).toHaveText("q8_0, f32");
  await expect(page.locator("#weights-held")).toHaveText("1.1 MB, as stored");
  await precision.focus();
  await page.keyboard.press("4");
  await expect(page.locator("#weights-held")).toHaveText("0.6 MB, in 4 bits");
  await settled(page);
  await expect(precision).toHaveValue("q4_0");
  await expect(precision).toBeFocused();
  await expect(page.locator("#live")).toHaveText("Beach: 5 tokens.");
  expect(await page.evaluate(() => localStorage.getItem("precision"))).toBe("q4_0");
  await expect((await ask(page, "Ask", "hello")).locator(".answer-text")).toContainText("you said: hello");
  await visit(page);
  await expect(page.locator("#weights-held")).toHaveText("0.6 MB, in 4 bits");
  await page.getByLabel("Precision").selectOption("As stored");
  await expect(page.locator("#weights-held")).toHaveText("1.1 MB, as stored");
});

test("offers the weights as they are stored when they are too large otherwise", async ({ page }) => {
  await useFakeModel(page);
  await page.addInitScript(() => localStorage.setItem("precision", "f32"));
  await visit(page, "?model=large-as-f32");
  await expect(page.locator("#notice-code")).toHaveText("out-of-memory");
  await page.getByRole("button", { name: "Load as stored" }).click();
  await settled(page);
  await expect(page.getByLabel("Precision")).toHaveValue("stored");
  await expect(page.locator("#notice")).toBeHidden();
});

test("takes the focus from a token when something is found, so that it can be seen", async ({ chat: page }) => {
  await page.locator("#token-0").click();
  await expect(page.locator("#spot")).toHaveClass("on");
  await ask(page, "Find", "the balloon");
  await expect(page.locator("#spot")).not.toHaveClass("on");
  await expect(page.locator("#masks")).toHaveClass("on");
  await expect(page.locator('#token-list [aria-selected="true"]')).toHaveCount(0);
});

test("has undo in sight on a phone", async ({ chat: page }) => {
  await page.setViewportSize({ width: 390, height: 844 });
  for (const name of ["Undo", "Redo"]) {
    const button = page.getByRole("button", { name });
    // The page is laid out anew a moment after its size has changed.
    await expect.poll(() => button.evaluate((node) => node.getBoundingClientRect().right)).toBeLessThan(360);
  }
});

test("scrolls its suggestions with the wheel of a mouse", async ({ chat: page }) => {
  await page.getByRole("radio", { name: "Draw" }).check({ force: true });
  const row = page.locator("#suggestions");
  await row.hover();
  await page.mouse.wheel(0, 120);
  await expect.poll(() => row.evaluate((node) => node.scrollLeft)).toBeGreaterThan(50);
});

test("puts settings back that cannot be used", async ({ chat: page }) => {
  const toggle = page.getByRole("button", { name: "Settings" });
  await toggle.click();
  await expect(toggle).toHaveAttribute("aria-expanded", "true");
  for (const [name, bad, good] of [
    ["Seed", "-3", "7"],
    ["Guidance", "99", "2.5"],
    ["Steps", "0", "10"],
  ] as const) {
    const field = page.getByLabel(name);
    const value = await field.inputValue();
    await field.fill(bad);
    await field.blur();
    await expect(field).toHaveValue(value);
    await field.fill(good);
    await field.blur();
    await expect(field).toHaveValue(good);
  }
  await expect((await ask(page, "Draw", "a sun")).locator(".answer-meta")).toHaveText(/^seed 7 · /);
});

test("says what went wrong in its place, and goes on", async ({ chat: page }) => {
  const turn = await ask(page, "Ask", "fail");
  await expect(turn.locator(".answer-problem")).toHaveText("The request is too long. Shorten it. context-overflow");
  await expect(page.locator("#notice")).toBeHidden();
  await expect((await ask(page, "Ask", "hello")).locator(".answer-text")).toContainText("you said: hello");
});

test("asks again what was stopped, and copies an answer", async ({ chat: page, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.locator("#words").fill("slowly");
  await page.locator("#words").press("Enter");
  const [first, second] = [page.locator(".turn").nth(0), page.locator(".turn").nth(1)];
  await expect(first.locator(".answer-text")).toHaveText("you ");
  await expect(first.locator(".answer-tools button")).toHaveCount(0);
  await page.keyboard.press("Escape");
  await first.getByRole("button", { name: "Retry" }).click();
  await expect(second.locator(".asked-words")).toHaveText("You: slowly");
  await settled(page);
  await expect(second.getByRole("button", { name: "Retry" })).toHaveCount(0);
  await second.getByRole("button", { name: "Copy" }).click();
  await expect(second.locator(".answer-tools")).toHaveText("Copied");
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  expect(copied).toBe(await second.locator(".answer-text").textContent());
});

test("saves the picture, a mask of it, and the conversation", async ({ chat: page }) => {
  await ask(page, "Ask", "what do you see?");
  await ask(page, "Find", "the owl");
  await ask(page, "Find", "the dog");
  const mask = await savedFrom(page, "#export", "The mask of the owl");
  expect(mask.suggestedFilename()).toBe("the-owl-mask.png");
  const png = readFileSync(await mask.path());
  expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([128, 128]);
  const colors = await page.evaluate(async (base64) => {
    const image = new Image();
    image.src = `data:image/png;base64,${base64}`;
    await image.decode();
    const context = Object.assign(document.createElement("canvas"), { width: 128, height: 128 }).getContext("2d");
    if (context === null) throw new Error("no context");
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, 128, 128);
    return {
      white: data.filter((value, i) => i % 4 === 0 && value === 255).length,
      black: data.filter((value, i) => i % 4 === 0 && value === 0).length,
    };
  }, png.toString("base64"));
  expect(colors.white).toBe(6 * 64); // the owl's patches
  expect(colors.black).toBe(128 * 128 - 6 * 64);
  const picture = await savedFrom(page, "#export", "The picture");
  expect(picture.suggestedFilename()).toBe("beach.png");

  const markdown = await savedFrom(page, "#chat-save", "As text \\(Markdown\\)");
  expect(await textOf(markdown)).toBe(
    [
      "# A conversation with fake\n",
      "**Ask**, about “Beach”: what do you see?\n\nan owl, a red balloon and a cat on a beach\n",
      "**Find**, about “Beach”: the owl\n\n*(a mask: 2.3 % of the picture, 93 % sure)*\n",
      "**Find**, about “Beach”: the dog\n\nthere is no dog\n",
    ].join("\n"),
  );
  const json = JSON.parse(await textOf(await savedFrom(page, "#chat-save", "As data"))) as {
    model: string;
    turns: { input: string; masks: { counts: number[] }[] }[];
  };
  expect(json.model).toBe("fake");
  expect(json.turns.map(({ input }) => input)).toEqual(["what do you see?", "the owl", "the dog"]);
  expect(json.turns[1]?.masks[0]?.counts.reduce((sum, run) => sum + run, 0)).toBe(128 * 128);
  await page.locator("#chat-save").click();
  await shot(page, "chat-save");
  expect(await accessibilityFaults(page)).toEqual([]);
});

test("clears the conversation", async ({ chat: page }) => {
  await ask(page, "Ask", "one");
  await ask(page, "Find", "the cat");
  await page.getByRole("button", { name: "Clear" }).click();
  await expect(page.locator(".turn")).toHaveCount(0);
  await expect(page.locator("#legend")).toBeHidden();
  await expect(page.locator("#chat-intro")).toBeVisible();
  await expect(page.locator("#words")).toBeFocused();
  await expect((await ask(page, "Ask", "two")).locator(".answer-text")).toHaveText("you said: two, turn 1");
  expect(await page.evaluate(() => Object.keys(localStorage).filter((key) => key !== "theme"))).toEqual([]);
});

test("stays in place while the model loads, and can be written in when it is there", async ({ page }) => {
  await useFakeModel(page);
  const shifts = await watchLayoutShifts(page);
  await visit(page);
  await expect(page.locator("#words")).toBeDisabled();
  await expect(page.getByRole("button", { name: "Send" })).toBeDisabled();
  await expect(page.locator("#words")).toBeEnabled();
  await settled(page);
  expect(await shifts()).toBeLessThan(0.02);
});

test("has no conversation for a model without a language model", async ({ page }) => {
  await useFakeModel(page);
  await openPage(page, "?model=tokens-only");
  await expect(page.locator("#chat")).toBeHidden();
  await expect(page.locator("#token-list [role=option]")).toHaveCount(5);
  const [stage, side] = await Promise.all([page.locator("#stage").boundingBox(), page.locator(".side").boundingBox()]);
  expect(side?.x).toBeGreaterThan((stage?.x ?? 0) + (stage?.width ?? 0)); // beside the picture, as without it
});

test("asks, finds, draws and edits with the real engine and random weights", async ({ page }) => {
  await openPage(page, "?model=tiny-setokim&device=cpu");
  const requests: string[] = [];
  page.on("request", (request) => {
    if (request.url().startsWith("http")) requests.push(request.url());
  });
  for (const mode of ["Ask", "Find", "Draw", "Edit"] as const) {
    const turn = await ask(page, mode, "the owl");
    await expect(turn.locator(".answer-problem")).toHaveCount(0);
    await expect(turn.locator(".answer-meta")).toHaveText(/ · \d+\.\d s$/);
  }
  expect(requests).toEqual([]);
  await expect(page.locator("#sent")).toHaveText("0 bytes sent");
  await shot(page, "chat-random");
});

// In short: the test before, with random weights, and the self-test page, with the shipped ones.
slowTest("draws with the real engine and the shipped weights", async ({ page }) => {
  await openPage(page, "?device=cpu");
  await ask(page, "Draw", "a cat on grass");
  await expect(page.locator(".turn").last().locator(".generated-frame")).toBeVisible();
});

test("sends nothing while it talks", async ({ chat: page }) => {
  const requests: string[] = [];
  page.on("request", (request) => {
    if (request.url().startsWith("http")) requests.push(request.url());
  });
  await ask(page, "Ask", "what do you see?");
  await ask(page, "Find", "the cat");
  await ask(page, "Draw", "a sun");
  await ask(page, "Edit", "remove the owl");
  expect(requests).toEqual([]);
  await expect(page.locator("#sent")).toHaveText("0 bytes sent");
});

for (const scheme of ["light", "dark"] as const) {
  for (const [place, width, height] of [
    ["desktop", 1280, 860],
    ["wide", 1680, 950],
    ["phone", 390, 844],
  ] as const) {
    test(`is accessible and fits: ${place}, ${scheme}`, async ({ chat: page }) => {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme: scheme });
      await shot(page, `chat-${place}-${scheme}-first`);
      await ask(page, "Ask", "what do you see?");
      await ask(page, "Find", "the balloon");
      await ask(page, "Draw", "a sun over grass");
      await ask(page, "Edit", "remove the owl");
      await page.getByRole("button", { name: "Settings" }).click();
      expect(await accessibilityFaults(page)).toEqual([]);
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(width);
      await expect(page.locator("#words")).toBeInViewport();
      await shot(page, `chat-${place}-${scheme}`);
    });
  }
}
