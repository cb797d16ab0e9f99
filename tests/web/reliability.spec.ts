/** Bad days in a real browser: engines that die, devices that are lost, storage and networks that fail. */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, type Page } from "@playwright/test";
import type * as Package from "setokim";
import { test } from "./helpers.ts";

declare const lib: typeof Package;

const sample = readFileSync(fileURLToPath(new URL("../../models/samples/beach.png", import.meta.url))).toString("base64");
const tiny = "/fixtures/tiny-setokim/";

async function openLab(page: Page): Promise<void> {
  await page.goto("lab.html");
  await page.waitForFunction(() => "lib" in globalThis);
}

interface Outcome {
  /** Of the requests, in order: a code, or "answered". */
  codes: string[];
  /** Whether the last answer is the one from before the fault. */
  same: boolean;
  recoveries: string[];
  device: Package.DeviceReport;
}

/** Chats, calls for a fault at the first word of an answer, `times` in a row, and asks again until one is answered. */
function suffer(page: Page, fault: string, device: "gpu" | "cpu", times = 1): Promise<Outcome> {
  return page.evaluate(
    async ({ base64, url, fault: wanted, device: choice, times: wantedTimes }) => {
      const image = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      const recoveries: string[] = [];
      const setokim = await lib.Setokim.load(url, {
        device: choice,
        workerUrl: "/faults/worker.js",
        onRecovery: ({ error, device: { device: now } }) => recoveries.push(`${error.code} ${now}`),
      });
      const lever = new BroadcastChannel("faults");
      const codes: string[] = [];
      const said: string[] = [];
      const ask = async (spoil: boolean): Promise<void> => {
        try {
          const content: Package.MessagePart[] = [{ type: "image", image }, { type: "text", text: "what is this?" }];
          const answering = setokim.chat([{ role: "user", content }], { maxTokens: 64 });
          if (spoil) {
            for await (const event of answering) if (event.type === "text") lever.postMessage(wanted);
          }
          said.push(JSON.stringify((await answering).text));
          codes.push("answered");
        } catch (error) {
          codes.push(error instanceof lib.SetokimError ? error.code : String(error));
        }
      };
      await ask(false);
      for (let time = 0; time < wantedTimes; time += 1) await ask(true);
      await ask(false);
      const outcome = { codes, same: said[0] === said.at(-1), recoveries, device: setokim.device };
      await setokim.dispose();
      return outcome;
    },
    { base64: sample, url: tiny, fault, device, times },
  );
}

test("a trap: what runs is told `crashed`, the next request is answered by a fresh worker", async ({ page }) => {
  await openLab(page);
  const { codes, same, recoveries } = await suffer(page, "trap", "cpu");
  expect({ codes, same, recoveries }).toEqual({ codes: ["answered", "crashed", "answered"], same: true, recoveries: ["crashed cpu"] });
});

test("a worker that ends without a word: what runs is told `crashed`, the next is answered", async ({ page }) => {
  await openLab(page);
  const { codes, same, recoveries } = await suffer(page, "end", "cpu");
  expect({ codes, same, recoveries }).toEqual({ codes: ["answered", "crashed", "answered"], same: true, recoveries: ["crashed cpu"] });
});

test("a lost GPU: a fresh worker goes on with it; after two losses in a row the CPU does", async ({ page }) => {
  test.slow();
  await openLab(page);
  const { codes, recoveries, device } = await suffer(page, "lose the device", "gpu", 2);
  expect(codes).toEqual(["answered", "device-lost", "device-lost", "answered"]);
  expect(recoveries).toEqual(["device-lost gpu", "device-lost cpu"]);
  expect(device).toMatchObject({ device: "cpu", reason: expect.stringContaining("2 times in a row"), adapter: { software: true } });
});

test("the browser's GPU process dies: the same answer from the next request", async ({ page, browser }) => {
  test.slow();
  await openLab(page);
  await page.exposeFunction("killGpuProcess", async () => {
    await (await browser.newBrowserCDPSession()).send("Browser.crashGpuProcess" as never);
  });
  await page.evaluate(() => {
    const { killGpuProcess } = globalThis as unknown as { killGpuProcess(): Promise<void> };
    new BroadcastChannel("faults").onmessage = ({ data }) => data === "kill the GPU process" && void killGpuProcess();
  });
  const { codes, same, recoveries } = await suffer(page, "kill the GPU process", "gpu");
  expect({ codes, same }).toEqual({ codes: ["answered", "device-lost", "answered"], same: true });
  expect(recoveries).toHaveLength(1);
});
