/** Makes the pictures of the README from the real page: `npm run screenshots`. */

import { fileURLToPath } from "node:url";
import { type Page, test } from "@playwright/test";
import { openPage, settings, settled } from "./helpers.ts";

interface Look {
  name: string;
  scheme: "light" | "dark";
  view: { width: number; height: number };
  /** The drawn world's where it is not said. */
  model?: string;
  /** Another than the first one. */
  sample?: string;
  /** One token in focus, so that both looks of the overlay are shown. */
  focus?: number;
  /** What is asked, one after the other. */
  ask?: [mode: "Ask" | "Find" | "Draw" | "Edit", words: string][];
}

const looks: Look[] = [
  {
    name: "photo",
    scheme: "light",
    view: { width: 1600, height: 900 },
    model: "photo",
    sample: "Cat",
    ask: [
      ["Ask", "What is in the photo?"],
      ["Find", "the cat"],
    ],
  },
  { name: "demo", scheme: "light", view: { width: 1600, height: 900 }, ask: [["Ask", "what do you see?"]] },
  { name: "demo-dark", scheme: "dark", view: { width: 1280, height: 860 }, sample: "Night", focus: 3 },
  { name: "demo-phone", scheme: "light", view: { width: 390, height: 844 } },
  {
    name: "demo-find",
    scheme: "light",
    view: { width: 1280, height: 860 },
    sample: "Night",
    ask: [
      ["Ask", "what do you see?"],
      ["Find", "the donut"],
    ],
  },
  {
    name: "demo-edit",
    scheme: "dark",
    view: { width: 1280, height: 860 },
    sample: "Room",
    ask: [["Edit", "put everything on a beach"]],
  },
  {
    name: "demo-draw",
    scheme: "light",
    view: { width: 1280, height: 860 },
    ask: [["Draw", "a cat and a red ball on grass"]],
  },
];

const folder = fileURLToPath(new URL("../../docs/images/", import.meta.url));
for (const { name, scheme, view, model = "setokim-tiny", sample, focus, ask = [] } of looks) {
  test(name, async ({ browser }) => {
    const context = await browser.newContext({
      ...settings,
      viewport: view,
      colorScheme: scheme,
      deviceScaleFactor: 1.5,
    });
    const page = await context.newPage();
    await openPage(page, `?model=${model}`);
    if (sample !== undefined) await page.getByRole("button", { name: `Sample: ${sample}` }).click();
    await settled(page);
    for (const [mode, words] of ask) await asked(page, mode, words);
    if (focus !== undefined) {
      await page.locator("#token-list [role=option]").nth(focus).click();
      await page.evaluate(() => scrollTo(0, 0));
    }
    await page.mouse.move(0, 0);
    await page.screenshot({ path: `${folder}${name}.png`, animations: "disabled" });
    await context.close();
  });
}

async function asked(page: Page, mode: string, words: string): Promise<void> {
  await page.getByRole("radio", { name: mode, exact: true }).check({ force: true });
  await page.locator("#words").fill(words);
  await page.locator("#words").press("Enter");
  await page.locator(".turn").last().waitFor();
  await settled(page);
}
