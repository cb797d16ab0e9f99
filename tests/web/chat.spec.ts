/** The conversation of the built page: what a person asks, sees and hears. */

import { readFileSync } from "node:fs";
import { expect } from "@playwright/test";
import { ask, test } from "./fake-chat.ts";
import { accessibilityFaults, middlePixel, settled, shot, tapPatch } from "./helpers.ts";

test("answers, word by word, with tokens and seconds", async ({ chat: page }) => {
  await expect(page.locator("#chat-intro")).toContainText("tiny model of a drawn world");
  const turn = await ask(page, "Ask", "what do you see?");
  await expect(turn.locator(".asked-words")).toContainText("what do you see?");
  await expect(turn.locator(".answer-text")).toHaveText("an owl, a red balloon and a cat on a beach");
  await expect(turn.locator(".answer-meta")).toHaveText(/^11 tokens · \d\.\d s$/);
  await expect(page.locator("#words")).toHaveValue("");
  await expect(page.locator("#words")).toBeFocused();
  await expect(page.locator("#chat-intro")).toBeHidden();
  // Said once, when it is whole.
  await expect(page.locator("#live")).toHaveText("Answer 1: an owl, a red balloon and a cat on a beach");
  await expect(turn.locator("..")).not.toHaveAttribute("aria-live");
  await shot(page, "chat-answer");
});

test("goes on with the same picture, and starts anew with another", async ({ chat: page }) => {
  await expect((await ask(page, "Ask", "one")).locator(".answer-text")).toHaveText("you said: one, turn 1");
  await ask(page, "Find", "the owl"); // is no part of the talk
  await expect((await ask(page, "Ask", "two")).locator(".answer-text")).toHaveText("you said: two, turn 3");
  await page.getByRole("button", { name: "Sample" }).nth(1).click();
  await settled(page);
  const turn = await ask(page, "Ask", "three");
  await expect(turn.locator(".answer-text")).toHaveText("you said: three, turn 1");
  await expect(turn.locator(".asked-picture")).toBeVisible();
});

test("stops by button and by Escape, between two words", async ({ chat: page }) => {
  for (const stop of [() => page.getByRole("button", { name: "Stop" }).click(), () => page.keyboard.press("Escape")]) {
    await page.locator("#words").fill("count to a thousand");
    await page.locator("#words").press("Enter");
    const turn = page.locator(".turn").last();
    await expect(turn.locator(".answer-text")).toContainText("one two");
    // What is typed meanwhile waits.
    await page.locator("#words").fill("next");
    await page.locator("#words").press("Enter");
    await expect(page.locator("#words")).toHaveValue("next");
    await stop();
    await expect(turn.locator(".answer-meta")).toHaveText("Stopped");
    await settled(page);
    await expect(page.getByRole("button", { name: "Send" })).toBeEnabled();
    const words = (await turn.locator(".answer-text").textContent())?.split(" ").length ?? 0;
    expect(words).toBeLessThan(250);
    await page.locator("#words").fill("");
  }
  await expect((await ask(page, "Ask", "hello")).locator(".answer-text")).toContainText("you said: hello");
});

test("writes a new line with Shift+Enter and sends nothing empty", async ({ chat: page }) => {
  const words = page.locator("#words");
  await words.press("Enter");
  await words.fill("  ");
  await words.press("Enter");
  await expect(page.locator(".turn")).toHaveCount(0);
  await words.fill("one");
  const { height = 0 } = (await words.boundingBox()) ?? {};
  await words.press("Shift+Enter");
  await words.pressSequentially("two");
  await expect(words).toHaveValue("one\ntwo");
  expect((await words.boundingBox())?.height).toBeGreaterThan(height + 10);
});

test("suggests what fits the mode, the picture and the chosen token", async ({ chat: page }) => {
  const chips = page.locator("#suggestions button");
  await expect(chips.first()).toHaveText("what do you see?");
  await page.getByRole("radio", { name: "Find" }).check({ force: true });
  await expect(chips).toHaveText(["the owl", "the balloon", "the cat", "the biggest object"]);
  await page.locator("#token-4").click();
  await expect(chips.first()).toHaveText("the cat");
  await page.getByRole("radio", { name: "Edit" }).check({ force: true });
  await expect(chips).toContainText(["make the balloon blue", "remove the cat", "replace the cat with a dog"]);
  await page.getByRole("radio", { name: "Find" }).check({ force: true });
  await chips.nth(0).click();
  await settled(page);
  await expect(page.locator("#legend")).toContainText("the cat");
});

test("marks what was found in the picture, and says when nothing was", async ({ chat: page }) => {
  const turn = await ask(page, "Find", "find the balloon");
  await expect(turn.locator(".masked figcaption")).toHaveText("3.5 % of the picture · 93 % sure");
  await expect(page.locator("#legend .legend-words")).toHaveText(["the balloon"]);
  await expect(page.locator("#masks")).toHaveClass("on");
  await expect(page.locator("#overlay")).not.toHaveClass("on");
  const inside = await page.locator("#masks").evaluate((node) => {
    const { width, height } = node as HTMLCanvasElement;
    const at = (x: number, y: number): number =>
      (node as HTMLCanvasElement).getContext("2d")?.getImageData(x * width, y * height, 1, 1).data[3] ?? 0;
    return [at(0.65, 0.33), at(0.2, 0.33)];
  });
  expect(inside[0]).toBeGreaterThan(60);
  expect(inside[1]).toBe(0);
  await ask(page, "Find", "the cat");
  await expect(page.locator("#legend .legend-words")).toHaveText(["the balloon", "the cat"]);
  const colors = await page
    .locator("#legend li")
    .evaluateAll((entries) => entries.map((entry) => getComputedStyle(entry, "::before").backgroundColor));
  expect(new Set(colors).size).toBe(2);
  await shot(page, "chat-found");
  await page.getByRole("button", { name: "Take off: the balloon" }).click();
  await page.getByRole("button", { name: "Take off: the cat" }).click();
  await expect(page.locator("#legend")).toBeHidden();
  await expect(page.locator("#overlay")).toHaveClass("on");

  await expect((await ask(page, "Find", "the dog")).locator(".answer-text")).toHaveText("there is no dog");
  await expect(page.locator("#legend")).toBeHidden();
  await ask(page, "Find", "the owl");
  await page.getByRole("button", { name: "Sample" }).nth(1).click();
  await expect(page.locator("#legend")).toBeHidden(); // masks belong to their picture
});

test("draws, shows the tokens, saves, and draws again with the next seed", async ({ chat: page }) => {
  const turn = await ask(page, "Draw", "a sun over grass");
  await expect(turn.locator(".generated figcaption")).toHaveText("3 tokens");
  await expect(turn.locator(".dot-token")).toHaveCount(3);
  await expect(turn.locator(".answer-meta")).toHaveText(/^seed 0 · /);
  await expect(turn.locator(".asked-picture")).toHaveCount(0);
  const tokens = turn.getByRole("button", { name: "Tokens" });
  await expect(turn.locator(".generated-tokens")).not.toHaveClass(/on/);
  await tokens.click();
  await expect(tokens).toHaveAttribute("aria-pressed", "true");
  await expect(turn.locator(".generated-tokens")).toHaveClass(/on/);

  const [saved] = await Promise.all([
    page.waitForEvent("download"),
    turn.getByRole("button", { name: "Save" }).click(),
  ]);
  expect(saved.suggestedFilename()).toBe("a-sun-over-grass.png");
  expect(readFileSync(await saved.path()).readUInt32BE(16)).toBe(128);

  await turn.getByRole("button", { name: "Again" }).click();
  await expect(page.locator(".turn")).toHaveCount(2);
  await settled(page);
  await expect(page.locator(".turn").last().locator(".answer-meta")).toHaveText(/^seed 1 · /);
  await page.getByRole("button", { name: "Settings" }).click();
  await expect(page.getByLabel("Seed")).toHaveValue("1");
  await shot(page, "chat-drawn");
});

test("shows a picture on its way, and nothing of one that was stopped", async ({ chat: page }) => {
  await page.getByRole("radio", { name: "Draw" }).check({ force: true });
  await page.locator("#words").fill("slowly");
  await page.locator("#words").press("Enter");
  const turn = page.locator(".turn").last();
  await expect(turn.locator(".generated-frame.waiting")).toBeVisible();
  await expect(turn.locator("figcaption")).toHaveText("Token 2 …");
  await expect(turn.locator(".generated-progress .dot-token")).toHaveCount(2);
  await page.keyboard.press("Escape");
  await expect(turn.locator(".answer-meta")).toHaveText("Stopped");
  await expect(turn.locator(".generated-frame")).toHaveCount(0);
});

test("edits, compares, takes the result as the picture, and goes back", async ({ chat: page }) => {
  const turn = await ask(page, "Edit", "remove the owl");
  await expect(turn.locator(".generated figcaption")).toHaveText("2 tokens copied, 1 new; removed: owl");
  await expect(turn.locator(".dot-token.copied")).toHaveCount(2);
  await turn.getByRole("slider").fill("30");
  await expect(turn.locator(".generated-frame")).toHaveCSS("--at", "30%");
  await shot(page, "chat-edited");
  await expect(page.locator("#surface")).toHaveAttribute("aria-label", "remove the owl, 5 tokens");
  const edited = await middlePixel(page, "#picture");
  await turn.getByRole("button", { name: "Show Beach again" }).click();
  await expect(page.locator("#surface")).toHaveAttribute("aria-label", "Beach, 5 tokens");
  expect(await middlePixel(page, "#picture")).not.toEqual(edited);
  await turn.getByRole("button", { name: "Use this picture" }).click();
  await expect(page.locator("#surface")).toHaveAttribute("aria-label", "remove the owl, 5 tokens");
});

test("undoes and redoes changes of the picture, and leaves the conversation", async ({ chat: page }) => {
  const surface = page.locator("#surface");
  const [undo, redo] = [page.getByRole("button", { name: "Undo" }), page.getByRole("button", { name: "Redo" })];
  await expect(undo).toHaveAttribute("aria-disabled", "true");
  const before = await middlePixel(page, "#picture");
  await ask(page, "Edit", "remove the owl");
  await expect(surface).toHaveAttribute("aria-label", "remove the owl, 5 tokens");
  const after = await middlePixel(page, "#picture");
  expect(after).not.toEqual(before);
  await expect(undo).toHaveAttribute("title", "Undo: show “Beach”");
  await undo.click();
  await expect(surface).toHaveAttribute("aria-label", "Beach, 5 tokens");
  expect(await middlePixel(page, "#picture")).toEqual(before);
  await expect(undo).toHaveAttribute("aria-disabled", "true");
  await redo.click();
  await expect(surface).toHaveAttribute("aria-label", "remove the owl, 5 tokens");
  expect(await middlePixel(page, "#picture")).toEqual(after);
  // By keyboard; in a text field the same keys are the text's.
  await page.locator("#words").press("Control+z");
  await expect(surface).toHaveAttribute("aria-label", "remove the owl, 5 tokens");
  await surface.press("Control+z");
  await expect(surface).toHaveAttribute("aria-label", "Beach, 5 tokens");
  await surface.press("Control+Shift+Z");
  await expect(surface).toHaveAttribute("aria-label", "remove the owl, 5 tokens");
  await expect(page.locator(".turn")).toHaveCount(1);
  // A new change takes the place of what was undone.
  await surface.press("Control+z");
  await page.getByRole("button", { name: "Sample" }).nth(1).click();
  await settled(page);
  await expect(redo).toHaveAttribute("aria-disabled", "true");
  await shot(page, "chat-undo");
});

test("offers what can be asked about a token, by mouse and by keyboard", async ({ chat: page }) => {
  const surface = page.locator("#surface");
  const menu = page.getByRole("menu");
  await tapPatch(page, 5, 10); // the balloon
  await expect(menu).toHaveAttribute("aria-label", "red balloon, 95 % sure");
  await expect(menu.getByRole("menuitem").first()).toBeFocused();
  await shot(page, "chat-token-menu");
  expect(await accessibilityFaults(page)).toEqual([]);
  await menu.getByRole("menuitem", { name: "Find the balloon" }).click();
  await expect(menu).toBeHidden();
  await settled(page);
  await expect(page.locator(".turn").last().locator(".asked-words")).toHaveText("You: Find the balloon");
  await expect(page.locator("#legend")).toContainText("the balloon");

  await tapPatch(page, 5, 10); // once: what was found took the focus from it
  await menu.getByRole("menuitem", { name: "make the balloon blue" }).click();
  await settled(page);
  await expect(page.locator("#surface")).toHaveAttribute("aria-label", "make the balloon blue, 5 tokens");

  // By keyboard; what is to be chosen is selected in the text box.
  await surface.focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  const title = await menu.getAttribute("aria-label");
  expect(title).toMatch(/^(owl|cat|sand|red balloon), \d+ % sure$/);
  await page.keyboard.press("Escape");
  await expect(menu).toBeHidden();
  await expect(surface).toBeFocused();
  await tapPatch(page, 11, 7); // the cat
  await page.keyboard.press("End");
  await expect(menu.getByRole("menuitem").last()).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.locator("#words")).toHaveValue("replace the cat with a dog");
  await expect(page.locator("#words")).toBeFocused();
  await expect(page.getByRole("radio", { name: "Edit", exact: true })).toBeChecked();
  await page.keyboard.type("an owl");
  await expect(page.locator("#words")).toHaveValue("replace the cat with an owl");
});
