/** Makes the pictures of the README from the real page: `npm run screenshots`. */

import { fileURLToPath } from "node:url";
import { test } from "@playwright/test";
import { openPage, settings, settled } from "./helpers.ts";

const folder = fileURLToPath(new URL("../../docs/images/", import.meta.url));
for (const { name, scheme, view, sample, focus } of [
  { name: "demo", scheme: "light", view: { width: 1280, height: 860 }, sample: undefined, focus: undefined },
  // One token in focus, so that both looks of the overlay are shown.
  { name: "demo-dark", scheme: "dark", view: { width: 1280, height: 860 }, sample: "Night", focus: 3 },
  { name: "demo-phone", scheme: "light", view: { width: 390, height: 844 }, sample: undefined, focus: undefined },
] as const) {
  test(name, async ({ browser }) => {
    const context = await browser.newContext({ ...settings, viewport: view, colorScheme: scheme, deviceScaleFactor: 1.5 });
    const page = await context.newPage();
    await openPage(page);
    if (sample !== undefined) await page.getByRole("button", { name: `Sample: ${sample}` }).click();
    await settled(page);
    if (focus !== undefined) await page.locator("#token-list [role=option]").nth(focus).click();
    await page.mouse.move(0, 0);
    await page.screenshot({ path: `${folder}${name}.png`, animations: "disabled" });
    await context.close();
  });
}
