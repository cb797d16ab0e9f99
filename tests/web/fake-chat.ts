/** The conversation of the built page, with a stand-in for the model. */

import { expect, type Locator, type Page } from "@playwright/test";
import { test as base, openPage, settled, useFakeModel } from "./helpers.ts";

export const test = base.extend<{ chat: Page }>({
  chat: async ({ page }, use) => {
    await useFakeModel(page);
    await openPage(page);
    await use(page);
  },
});

type Mode = "Ask" | "Find" | "Draw" | "Edit";

/** Asks by keyboard and waits for the whole answer. */
export async function ask(page: Page, mode: Mode, words: string): Promise<Locator> {
  const before = await page.locator(".turn").count();
  await page.getByRole("radio", { name: mode, exact: true }).check({ force: true });
  await page.locator("#words").fill(words);
  await page.locator("#words").press("Enter");
  await expect(page.locator(".turn")).toHaveCount(before + 1);
  await settled(page);
  return page.locator(".turn").last();
}
