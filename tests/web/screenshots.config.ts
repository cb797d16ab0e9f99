/** Not tests: `npm run screenshots` makes the pictures of the README, `npm run animation` the one that moves. */

import { defineConfig } from "@playwright/test";
import tests from "./playwright.config.ts";

export default defineConfig({
  ...tests,
  projects: [
    { name: "screenshots", testMatch: /screenshots\.ts$/ },
    { name: "animation", testMatch: /animation\.ts$/ },
  ],
});
