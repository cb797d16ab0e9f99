/** Bad days in a real browser: engines that die, devices that are lost, long use. */

import { readdirSync } from "node:fs";
import { expect, type Page } from "@playwright/test";
import type * as Package from "setokim";
import { isFull, slowTest, test } from "./helpers.ts";
import { openLab, sample, tiny } from "./tiny.ts";

declare const lib: typeof Package;

interface Outcome {
  /** Of the requests, in order: a code, or "answered". */
  codes: string[];
  /** Whether the last answer is the one from before the fault. */
  same: boolean;
  recoveries: string[];
  device: Package.DeviceReport;
}

/** Chats, calls for a fault at the first word of an answer, `times` in a row, and asks again until one is answered. */
function suffer(
  page: Page,
  fault: string,
  device: "gpu" | "cpu",
  { times = 1, worker = "worker.js" } = {},
): Promise<Outcome> {
  return page.evaluate(
    async ({ base64, url, workerUrl, fault: wanted, device: choice, times: wantedTimes }) => {
      const image = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      const recoveries: string[] = [];
      const setokim = await lib.Setokim.load(url, {
        device: choice,
        workerUrl,
        onRecovery: ({ error, device: { device: now } }) => recoveries.push(`${error.code} ${now}`),
      });
      const lever = new BroadcastChannel("faults");
      const codes: string[] = [];
      const texts: string[] = [];
      const ask = async (spoil: boolean): Promise<void> => {
        try {
          const content: Package.MessagePart[] = [
            { type: "image", image },
            { type: "text", text: "what is this?" },
          ];
          const answering = setokim.chat([{ role: "user", content }], { maxTokens: 64 });
          if (spoil) {
            for await (const event of answering) if (event.type === "text") lever.postMessage(wanted);
          }
          texts.push(JSON.stringify((await answering).text));
          codes.push("answered");
        } catch (error) {
          codes.push(error instanceof lib.SetokimError ? error.code : String(error));
        }
      };
      await ask(false);
      for (let time = 0; time < wantedTimes; time += 1) await ask(true);
      await ask(false);
      const outcome = { codes, same: texts[0] === texts.at(-1), recoveries, device: setokim.device };
      await setokim.dispose();
      return outcome;
    },
    { base64: sample, url: tiny, workerUrl: `/faults/${worker}`, fault, device, times },
  );
}

test("a trap: what runs is told `crashed`, the next request is answered by a fresh worker", async ({ page }) => {
  await openLab(page);
  const { codes, same, recoveries } = await suffer(page, "trap", "cpu");
  expect({ codes, same, recoveries }).toEqual({
    codes: ["answered", "crashed", "answered"],
    same: true,
    recoveries: ["crashed cpu"],
  });
});

test("a worker that ends without a word: what runs is told `crashed`, the next is answered", async ({ page }) => {
  await openLab(page);
  const { codes, same, recoveries } = await suffer(page, "end", "cpu");
  expect({ codes, same, recoveries }).toEqual({
    codes: ["answered", "crashed", "answered"],
    same: true,
    recoveries: ["crashed cpu"],
  });
});

/** Every shader, by the name that the self-test has for it. */
const kernels = readdirSync(new URL("../../shaders", import.meta.url))
  .filter((name) => name.endsWith(".wgsl"))
  .map((name) => name.replace(".wgsl", ""))
  .sort();

test("a lost GPU, of no more than WebGPU's minimum: a fresh worker tests every kernel, and goes on with it", async ({
  page,
}) => {
  test.slow();
  await openLab(page);
  const worker = "minimum-gpu.js";
  const { codes, same, recoveries, device } = await suffer(page, "lose the device", "gpu", { worker });
  expect(codes).toEqual(["answered", "device-lost", "answered"]);
  expect({ same, recoveries }).toEqual({ same: true, recoveries: ["device-lost gpu"] });
  expect(device.adapter?.maxStorageBinding).toBe(128 << 20);
  expect(device.selfTest).toMatchObject({ failed: [] });
  expect(device.selfTest?.kernels.toSorted()).toEqual(kernels);
});

// In short: unit/recovery.test.ts.
slowTest("after two losses of the GPU in a row the CPU goes on", async ({ page }) => {
  test.slow();
  await openLab(page);
  const { codes, recoveries, device } = await suffer(page, "lose the device", "gpu", { times: 2 });
  expect(codes).toEqual(["answered", "device-lost", "device-lost", "answered"]);
  expect(recoveries).toEqual(["device-lost gpu", "device-lost cpu"]);
  expect(device).toMatchObject({
    device: "cpu",
    reason: expect.stringContaining("2 times in a row"),
    adapter: { software: true },
  });
});

// In short: unit/load.test.ts and unit/recovery.test.ts.
slowTest(
  "a GPU without memory for a buffer: what runs is told so, the next is answered in a fresh worker",
  async ({ page }) => {
    test.slow();
    await openLab(page);
    const { codes, same, recoveries } = await suffer(page, "take the GPU's memory", "gpu");
    expect(codes).toEqual(["answered", "out-of-memory", "answered"]);
    expect({ same, recoveries }).toEqual({ same: true, recoveries: ["out-of-memory gpu"] });
  },
);

// In short: the lost GPU above, which the library is told of in the same way.
slowTest("the browser's GPU process dies: the same answer from the next request", async ({ page, browser }) => {
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

// --- privacy

test("after the load no request at all, whatever is asked and whatever goes wrong", async ({ page, context }) => {
  await openLab(page);
  await page.evaluate(async (url) => {
    const setokim = await lib.Setokim.load(url, { device: "cpu" });
    Object.assign(globalThis, { setokim });
  }, tiny);
  const asked: string[] = [];
  await context.route("**/*", (route) => {
    asked.push(route.request().url());
    return route.abort();
  });
  const outcomes = await page.evaluate(async (base64) => {
    const { setokim } = globalThis as unknown as { setokim: Package.Setokim };
    const image = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const hostile = `<img src="https://example.org/steal"><script>fetch("https://example.org/")</script>`;
    const short = { maxTokens: 4, diffusion: { steps: 1 } };
    const say = (text: string): Package.Message[] => [
      {
        role: "user",
        content: [
          { type: "image", image },
          { type: "text", text },
        ],
      },
    ];
    const work: Record<string, () => Promise<unknown>> = {
      tokenize: () => setokim.tokenize(image),
      reconstruct: () => setokim.reconstruct(image),
      chat: async () => setokim.chat(say("what is this?"), short),
      hostile: async () => setokim.chat(say(hostile), short),
      segment: async () => setokim.segment(image, "the dog", short),
      generate: async () => setokim.generate("a sun", short),
      edit: async () => setokim.edit(image, "remove the dog", short),
      "bad picture": () => setokim.tokenize(new TextEncoder().encode(hostile)),
      "empty prompt": async () => setokim.generate("", short),
      "no context": async () => setokim.chat(say("word ".repeat(5000)), short),
      aborted: () => setokim.tokenize(image, { signal: AbortSignal.abort() }),
    };
    const found: Record<string, string> = {};
    for (const [name, run] of Object.entries(work)) {
      found[name] = await run().then(
        () => "answered",
        (error: unknown) => (error instanceof lib.SetokimError ? error.code : String(error)),
      );
    }
    const { requests } = setokim.network;
    await setokim.dispose();
    return { ...found, requests };
  }, sample);
  expect(asked).toEqual([]);
  expect(outcomes).toEqual({
    tokenize: "answered",
    reconstruct: "answered",
    chat: "answered",
    hostile: "answered",
    segment: "answered",
    generate: "answered",
    edit: "answered",
    "bad picture": "image-decode",
    "empty prompt": "prompt-invalid",
    "no context": "context-overflow",
    aborted: "aborted",
    requests: 0,
  });
});

// --- other browsers

for (const [lack, worker, reason] of [
  ["WebGPU", "no-webgpu.js", /^there is no WebGPU here$/],
  // burn 0.22 would panic there.
  ["timestamp-query", "no-timestamps.js", /no timestamp-query/],
] as const) {
  test(`without ${lack} the CPU answers, and \`gpu\` is refused with a reason`, async ({ page }) => {
    await openLab(page);
    const outcome = await page.evaluate(
      async ({ url, workerUrl }) => {
        const setokim = await lib.Setokim.load(url, { workerUrl });
        const { device } = setokim;
        await setokim.dispose();
        const refused = await lib.Setokim.load(url, { device: "gpu", workerUrl }).catch((error: unknown) => error);
        return {
          device,
          code: refused instanceof lib.SetokimError ? `${refused.code} ${refused.remedy}` : String(refused),
        };
      },
      { url: tiny, workerUrl: `/faults/${worker}` },
    );
    expect(outcome.device.device).toBe("cpu");
    expect(outcome.device.adapter === null).toBe(lack === "WebGPU");
    expect(outcome.device.reason).toMatch(reason);
    expect(outcome.code).toMatch(/^device-unavailable .*cpu/);
  });
}

// In short: the lost GPU above has no more than the minimum, and answers.
slowTest("on a GPU with no more than WebGPU's minimum the answers are the same", async ({ page }) => {
  test.slow();
  await openLab(page);
  const outcome = await page.evaluate(
    async ({ base64, url }) => {
      const image = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      const answers: string[] = [];
      const devices: Package.DeviceReport[] = [];
      for (const workerUrl of ["/faults/worker.js", "/faults/minimum-gpu.js"]) {
        const setokim = await lib.Setokim.load(url, { device: "gpu", workerUrl });
        devices.push(setokim.device);
        const content: Package.MessagePart[] = [
          { type: "image", image },
          { type: "text", text: "what is this?" },
        ];
        const { text } = await setokim.chat([{ role: "user", content }], { maxTokens: 8 });
        answers.push(`${(await setokim.tokenize(image)).labels.join()} ${text}`);
        await setokim.dispose();
      }
      return { answers, devices };
    },
    { base64: sample, url: tiny },
  );
  expect(outcome.devices.map(({ device }) => device)).toEqual(["gpu", "gpu"]);
  expect(outcome.devices[1]?.adapter?.maxStorageBinding).toBe(128 << 20);
  expect(outcome.devices[0]?.adapter?.maxStorageBinding).toBeGreaterThan(128 << 20);
  expect(outcome.answers[1]).toBe(outcome.answers[0]);
});

test("a GPU that computes one kernel wrongly is refused, and the kernels of the operation named", async ({ page }) => {
  test.slow();
  await openLab(page);
  const outcome = await page.evaluate(async (url) => {
    const refused = await lib.Setokim.load(url, { device: "gpu", workerUrl: "/faults/wrong-kernel.js" }).catch(
      (error: unknown) => error,
    );
    return refused instanceof lib.SetokimError ? `${refused.code}: ${refused.message}` : "loaded";
  }, tiny);
  expect(outcome).toMatch(/^device-unavailable: .*wrong results in knn_density, reduce_neighbors$/);
});

// --- long use

/** Bytes of the page's own WebAssembly memory, which only ever grows. */
async function memory(page: Page): Promise<number> {
  return page.evaluate(async () => {
    const { default: init } = (await import("/pkg/wasm/setokim.js" as string)) as {
      default(): Promise<{ memory: WebAssembly.Memory }>;
    };
    return (await init()).memory.buffer.byteLength;
  });
}

const soak = isFull ? { requests: 100, loads: 10, rounds: 5 } : { requests: 30, loads: 3, rounds: 3 };

test(`rounds of ${soak.requests} requests and ${soak.loads} loads leave the memory as it was`, async ({ page }) => {
  test.slow();
  await openLab(page);
  const requests = (count: number): Promise<string[]> =>
    page.evaluate(
      async ({ base64, url, wanted }) => {
        const image = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
        const setokim = await lib.Setokim.load(url, { device: "cpu", worker: false });
        const content: Package.MessagePart[] = [
          { type: "image", image },
          { type: "text", text: "what is this?" },
        ];
        const answers = new Set<string>();
        for (let request = 0; request < wanted; request += 1) {
          if (request % 3 === 0) answers.add((await setokim.tokenize(image)).labels.join());
          if (request % 3 === 1) answers.add((await setokim.chat([{ role: "user", content }], { maxTokens: 3 })).text);
          if (request % 3 === 2)
            await setokim.tokenize(new Uint8Array(9)).catch(({ code }: Package.SetokimError) => answers.add(code));
        }
        await setokim.dispose();
        return [...answers];
      },
      { base64: sample, url: tiny, wanted: count },
    );
  const answers = await requests(30);
  /** What each of some rounds adds: a leak adds to every one, a heap that is only broken up settles. */
  const growth = async (rounds: number, round: () => Promise<void>): Promise<number[]> => {
    const added: number[] = [];
    for (let turn = 0; turn < rounds; turn += 1) {
      const before = await memory(page);
      await round();
      added.push((await memory(page)) - before);
    }
    return added;
  };
  const byRequests = await growth(soak.rounds, async () => expect(await requests(soak.requests)).toEqual(answers));
  expect(byRequests, "bytes added by each round of requests").toContain(0);
  const byLoads = await growth(soak.rounds, async () => {
    for (let load = 0; load < soak.loads; load += 1) await requests(1);
  });
  expect(byLoads, "bytes added by each round of loads").toContain(0);
});
