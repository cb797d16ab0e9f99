/** The conversation of the built page, with a stand-in for the model: what a person sees, presses and hears. */

import { readFileSync } from "node:fs";
import { expect, type Locator, type Page } from "@playwright/test";
import {
  accessibilityFaults,
  test as base,
  fingerprint,
  middlePixel,
  openPage,
  savedFrom,
  settled,
  shot,
  slowTest,
  textOf,
  useFakeModel,
  visit,
} from "./helpers.ts";

const test = base.extend<{ chat: Page }>({
  chat: async ({ page }, use) => {
    await useFakeModel(page);
    await openPage(page);
    await use(page);
  },
});

type Mode = "Ask" | "Find" | "Draw" | "Edit";

/** Asks by keyboard and waits for the whole answer. */
async function ask(page: Page, mode: Mode, words: string): Promise<Locator> {
  const before = await page.locator(".turn").count();
  await page.getByRole("radio", { name: mode, exact: true }).check({ force: true });
  await page.locator("#words").fill(words);
  await page.locator("#words").press("Enter");
  await expect(page.locator(".turn")).toHaveCount(before + 1);
  await settled(page);
  return page.locator(".turn").last();
}

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
  const tap = async (row: number, column: number): Promise<void> => {
    const box = await surface.boundingBox();
    if (box === null) throw new Error("the picture is not shown");
    await page.mouse.click(box.x + ((column + 0.5) / 16) * box.width, box.y + ((row + 0.5) / 16) * box.height);
  };
  await tap(5, 10); // the balloon
  await expect(menu).toHaveAttribute("aria-label", "red balloon, 95 % sure");
  await expect(menu.getByRole("menuitem").first()).toBeFocused();
  await shot(page, "chat-token-menu");
  expect(await accessibilityFaults(page)).toEqual([]);
  await menu.getByRole("menuitem", { name: "Find the balloon" }).click();
  await expect(menu).toBeHidden();
  await settled(page);
  await expect(page.locator(".turn").last().locator(".asked-words")).toHaveText("You: Find the balloon");
  await expect(page.locator("#legend")).toContainText("the balloon");

  await tap(5, 10); // once: what was found took the focus from it
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
  await tap(11, 7); // the cat
  await page.keyboard.press("End");
  await expect(menu.getByRole("menuitem").last()).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.locator("#words")).toHaveValue("replace the cat with a dog");
  await expect(page.locator("#words")).toBeFocused();
  await expect(page.getByRole("radio", { name: "Edit", exact: true })).toBeChecked();
  await page.keyboard.type("an owl");
  await expect(page.locator("#words")).toHaveValue("replace the cat with an owl");
});

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
  await page.addInitScript(() => {
    const shifts: number[] = [];
    Object.assign(globalThis, { shifts });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) shifts.push((entry as unknown as { value: number }).value);
    }).observe({ type: "layout-shift", buffered: true });
  });
  await visit(page);
  await expect(page.locator("#words")).toBeDisabled();
  await expect(page.getByRole("button", { name: "Send" })).toBeDisabled();
  await expect(page.locator("#words")).toBeEnabled();
  await settled(page);
  const shifts = await page.evaluate(() => (globalThis as unknown as { shifts: number[] }).shifts);
  expect(shifts.reduce((sum, value) => sum + value, 0)).toBeLessThan(0.02);
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
