/** Makes the pictures of the README from the real page: `npm run screenshots`. */

import { fileURLToPath } from "node:url";
import { test } from "@playwright/test";
import { openPage, settled } from "./helpers.ts";

const folder = fileURLToPath(new URL("../../docs/images/", import.meta.url));
const sample = process.env["SETOKIM_SAMPLE"] ?? "Grass";

for (const { name, scheme, view } of [
  { name: "demo", scheme: "light", view: { width: 1280, height: 860 } },
  { name: "demo-dark", scheme: "dark", view: { width: 1280, height: 860 } },
  { name: "demo-phone", scheme: "light", view: { width: 390, height: 844 } },
] as const) {
  test(name, async ({ browser }) => {
    const context = await browser.newContext({ viewport: view, colorScheme: scheme, deviceScaleFactor: 2 });
    const page = await context.newPage();
    await openPage(page);
    await page.getByRole("button", { name: `Sample: ${sample}` }).click();
    await settled(page);
    if (name === "demo-dark") {
      // One token in focus, so that both looks of the overlay are shown.
      await page.locator("#token-list [role=option]").nth(2).click();
    }
    await page.mouse.move(0, 0);
    await page.screenshot({ path: `${folder}${name}.png`, animations: "disabled" });
    await context.close();
  });
}
