/** Not a test: `npm run screenshots` makes the pictures of the README. */

import { defineConfig } from "@playwright/test";
import tests from "./playwright.config.ts";

export default defineConfig({ ...tests, projects: [{ name: "screenshots", testMatch: /screenshots\.ts$/ }] });
