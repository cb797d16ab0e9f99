/** The tiny model in the lab, a page with nothing but the library. */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Page } from "@playwright/test";
import type * as Package from "setokim";

declare const lib: typeof Package;

export const sample = readFileSync(fileURLToPath(new URL("../../models/samples/beach.png", import.meta.url))).toString(
  "base64",
);
export const tiny = "/fixtures/tiny-setokim/";

/** What one load of the tiny model gives: how it went, labels of the sample, the stages whose bytes came from the network. */
export interface Loaded {
  outcome: string;
  labels: string;
  fetched: string[];
  kept: string[];
}

export function loadTiny(page: Page, options: { worker?: boolean; cache?: boolean } = {}): Promise<Loaded> {
  return page.evaluate(
    async ({ base64, url, given }) => {
      const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      const fetched = new Set<string>();
      let [outcome, labels] = ["loaded", ""];
      try {
        const setokim = await lib.Setokim.load(url, {
          device: "cpu",
          ...given,
          onProgress: ({ stage, file, cached }) => {
            if (stage === "upload" && cached === false) fetched.add(file ?? "");
          },
        });
        labels = (await setokim.tokenize(bytes)).labels.join();
        await setokim.dispose();
      } catch (error) {
        outcome = error instanceof lib.SetokimError ? error.code : String(error);
      }
      const kept = (await lib.Setokim.cache.list()).map(({ name }) => name);
      return { outcome, labels, fetched: [...fetched].sort(), kept };
    },
    { base64: sample, url: tiny, given: options },
  );
}

export const tinyFiles = ["setok-00001-of-00001.safetensors", "tokenizer.json"];

export async function openLab(page: Page): Promise<void> {
  await page.goto("lab.html");
  await page.waitForFunction(() => "lib" in globalThis);
}
