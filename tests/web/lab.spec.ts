/** The package itself in a real browser, without a bundler: every input, both threads, errors, cache, abort. */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, type Page } from "@playwright/test";
import type * as Package from "setokim";
import { test } from "./helpers.ts";

declare const lib: typeof Package;

const sample = readFileSync(fileURLToPath(new URL("../../models/samples/beach.png", import.meta.url))).toString(
  "base64",
);
const model = "/models/setokim-tiny/";

async function openLab(page: Page): Promise<void> {
  await page.goto("lab.html");
  await page.waitForFunction(() => "lib" in globalThis);
}

test("probes before any weights are downloaded", async ({ page }) => {
  await openLab(page);
  const requests: string[] = [];
  page.on("request", (request) => requests.push(request.url()));
  const report = await page.evaluate(() => lib.Setokim.probe());
  expect(report.device).toBe("cpu");
  expect(report.reason).not.toBe("");
  expect(report.adapter).toMatchObject({ software: true });
  expect(requests.filter((url) => url.includes("/models/"))).toEqual([]);
  const withModel = await page.evaluate((url) => lib.Setokim.probe({ model: url }), model);
  expect(withModel).toMatchObject({ device: "cpu", fits: true });
  expect(withModel.download).toBeGreaterThan(1e7);
  expect(withModel.verdict).toMatch(/^Runs on the CPU: .+ It takes about \d+ MB of memory\.$/);
  const asked = requests.filter((url) => url.includes("/models/")).map((url) => url.split("/").pop());
  expect(asked).toEqual(["manifest.json"]);
});

test("reads every kind of picture, and they agree", async ({ page }) => {
  await openLab(page);
  const labels = await page.evaluate(
    async ({ base64, url }) => {
      const setokim = await lib.Setokim.load(url);
      const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      const blob = new Blob([bytes], { type: "image/png" });
      const bitmap = await createImageBitmap(blob);
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
      const context = canvas.getContext("2d");
      context?.drawImage(bitmap, 0, 0);
      const offscreen = new OffscreenCanvas(bitmap.width, bitmap.height);
      offscreen.getContext("2d")?.drawImage(bitmap, 0, 0);
      const image = new Image();
      image.src = `data:image/png;base64,${base64}`;
      const imageData = context?.getImageData(0, 0, canvas.width, canvas.height);
      const frame = new VideoFrame(bitmap, { timestamp: 0 });
      const inputs: [string, Package.ImageInput][] = [
        ["bytes", bytes],
        ["buffer", bytes.buffer],
        ["blob", blob],
        ["file", new File([blob], "a.png")],
        ["data url", image.src],
        ["address", "/models/samples/beach.png"],
        ["URL", new URL("/models/samples/beach.png", location.href)],
        ["bitmap", bitmap],
        ["canvas", canvas],
        ["offscreen", offscreen],
        ["image", image],
        ["frame", frame],
        ...(imageData === undefined ? [] : [["pixels", imageData] as [string, Package.ImageInput]]),
      ];
      const results: Record<string, string> = {};
      for (const [name, input] of inputs) {
        const { labels: found, image: size } = await setokim.tokenize(input);
        results[name] = `${size.width}x${size.height} ${found.join("")}`;
      }
      // Nothing of the caller's was closed or detached.
      results["left alone"] = `${bitmap.width} ${frame.codedWidth} ${bytes.byteLength > 0}`;
      const { requests } = setokim.network;
      await setokim.dispose();
      return { results, requests };
    },
    { base64: sample, url: model },
  );
  expect(labels.results["left alone"]).toBe("128 128 true");
  delete labels.results["left alone"];
  expect(Object.keys(labels.results)).toHaveLength(13);
  expect(new Set(Object.values(labels.results)).size).toBe(1);
  // The page fetched two pictures by their addresses, and nothing else.
  expect(labels.requests).toBe(2);
});

test("gives the same answers in the page's own thread", async ({ page }) => {
  await openLab(page);
  const [inWorker, inPage] = await page.evaluate(
    async ({ base64, url }) => {
      const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      const answers: string[] = [];
      for (const worker of [true, false]) {
        const setokim = await lib.Setokim.load(url, { worker });
        const { image, tokens } = await setokim.reconstruct(bytes);
        await setokim[Symbol.asyncDispose]();
        answers.push(`${image.width}x${image.height} ${image.data.slice(0, 400).join()} ${tokens.labels.join()}`);
      }
      return answers;
    },
    { base64: sample, url: model },
  );
  expect(inWorker).toBe(inPage);
});

test("gives typed errors across the worker, and goes on", async ({ page }) => {
  await openLab(page);
  const outcome = await page.evaluate(
    async ({ base64, url }) => {
      const codeOf = async (promise: Promise<unknown>): Promise<string> => {
        try {
          await promise;
          return "fulfilled";
        } catch (error) {
          return error instanceof lib.SetokimError ? `${error.code}: ${error.remedy !== ""}` : String(error);
        }
      };
      const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      const setokim = await lib.Setokim.load(url);
      const abort = new AbortController();
      const first = codeOf(setokim.tokenize(bytes));
      const waiting = codeOf(setokim.tokenize(bytes, { signal: abort.signal }));
      abort.abort();
      const codes = [
        await codeOf(setokim.tokenize(new Uint8Array(10))),
        await codeOf(setokim.tokenize(new Uint8Array(0))),
        await codeOf(setokim.tokenize(new ImageData(1, 1))),
        await codeOf(setokim.tokenize("/models/samples/none.png")),
        await waiting,
        await first,
      ];
      const broken = document.createElement("canvas");
      broken.width = 0;
      codes.push(await codeOf(setokim.tokenize(broken)));
      await setokim.dispose();
      codes.push(await codeOf(setokim.tokenize(bytes)));
      codes.push(await codeOf(lib.Setokim.load("/models/none/")));
      codes.push(await codeOf(lib.Setokim.load(url, { workerUrl: "/pkg/none.js" })));
      codes.push(await codeOf(lib.Setokim.load(url, { wasmUrl: "/pkg/none.wasm" })));
      codes.push(await codeOf(lib.Setokim.load(url, { signal: AbortSignal.abort() })));
      codes.push(await codeOf(lib.Setokim.load([new File(["{"], "config.json")])));
      return codes;
    },
    { base64: sample, url: model },
  );
  expect(outcome).toEqual([
    "image-decode: true",
    "image-decode: true",
    "fulfilled",
    "network: true",
    "aborted: true",
    "fulfilled",
    "image-decode: true",
    "disposed: true",
    "network: true",
    "worker-unavailable: true",
    "network: true",
    "aborted: true",
    "io: true",
  ]);
});

test("loads from files, and refuses bad ones by name", async ({ page }) => {
  await openLab(page);
  const outcome = await page.evaluate(async () => {
    const names = ["config.json", "manifest.json", "setok-00001-of-00001.safetensors"];
    const fetched = await Promise.all(
      names.map(async (name) => [name, await (await fetch(`/fixtures/tiny-model/${name}`)).arrayBuffer()] as const),
    );
    const files = fetched.map(([name, bytes]) => new File([bytes], name));
    const codeOf = async (changed: File): Promise<string> => {
      try {
        const all = files.map((file) => (file.name === changed.name ? changed : file));
        await (await lib.Setokim.load(all, { device: "cpu" })).dispose();
        return "fulfilled";
      } catch (error) {
        return error instanceof lib.SetokimError ? error.code : String(error);
      }
    };
    const [config = "", manifest = ""] = await Promise.all(files.map((file) => file.text()));
    const weights = fetched[2]?.[1] ?? new ArrayBuffer(0);
    const spoilt = new Uint8Array(weights.slice(0));
    spoilt[5000] = (spoilt[5000] ?? 0) ^ 1;
    return {
      whole: await codeOf(new File([config], "config.json")),
      noJson: await codeOf(new File(["{"], "config.json")),
      badK: await codeOf(new File([config.replace('"neighbors": 3', '"neighbors": 0')], "config.json")),
      noManifest: await codeOf(new File(["[]"], "manifest.json")),
      spoilt: await codeOf(new File([spoilt], names[2] ?? "")),
      cut: await codeOf(new File([weights.slice(0, 1000)], names[2] ?? "")),
      manifest: manifest.length > 0,
    };
  });
  expect(outcome).toMatchObject({
    whole: "fulfilled",
    noJson: "config-invalid",
    noManifest: "manifest-invalid",
    spoilt: "hash-mismatch",
    manifest: true,
  });
  expect(["config-invalid", "clustering-invalid", "hash-mismatch"]).toContain(outcome.badK);
  expect(["shard-corrupt", "hash-mismatch"]).toContain(outcome.cut);
});

test("lists what it keeps, loads it offline and forgets it", async ({ page, context }) => {
  await openLab(page);
  const kept = await page.evaluate(async (url) => {
    await (await lib.Setokim.load(url)).dispose();
    return lib.Setokim.cache.list();
  }, model);
  expect(kept).toHaveLength(1);
  expect(kept[0]).toMatchObject({ name: "setokim-tiny", url: expect.stringContaining(model) });
  expect(kept[0]?.bytes).toBeGreaterThan(1e6);

  await context.route("**/models/**", (route) => route.abort());
  const stages = await page.evaluate(async (url) => {
    const seen = new Set<string>();
    const setokim = await lib.Setokim.load(url, {
      onProgress: ({ stage, cached }) => seen.add(`${stage} ${cached ?? ""}`),
    });
    await setokim.dispose();
    return [...seen];
  }, model);
  expect(stages).toContain("download true");
  expect(stages).not.toContain("download false");

  const left = await page.evaluate(async (url) => {
    await lib.Setokim.cache.delete(url);
    return lib.Setokim.cache.list();
  }, model);
  expect(left).toEqual([]);
  await expect(page.evaluate((url) => lib.Setokim.load(url), model)).rejects.toThrow(/cannot be fetched/);
});

test("goes on with a download where it was cut", async ({ page, context }) => {
  const ranges: (string | undefined)[] = [];
  let half = 0;
  await context.route("**/*.safetensors", async (route) => {
    const range = route.request().headers()["range"];
    ranges.push(range);
    if (range !== undefined) {
      await route.continue();
      return;
    }
    const response = await route.fetch();
    const body = await response.body();
    // Half a file with an honest length is what a proxy's time-out looks like to `fetch`.
    half = Math.floor(body.byteLength / 2);
    await route.fulfill({ status: 200, body: body.subarray(0, half) });
  });
  await openLab(page);
  const name = await page.evaluate(async () => {
    const setokim = await lib.Setokim.load("/fixtures/tiny-model/", { device: "cpu", cache: false });
    await setokim.dispose();
    return setokim.model.name;
  });
  expect(name).toBe("tiny-model");
  expect(ranges).toEqual([undefined, `bytes=${half}-`]);
});

test("holds the weights in the type that is asked for, from one download", async ({ page }) => {
  await openLab(page);
  const shards: string[] = [];
  page.on("request", (request) => {
    if (request.url().endsWith(".safetensors")) shards.push(request.url());
  });
  const held = await page.evaluate(async (url) => {
    const found: (Package.WeightTypes & { answered: number })[] = [];
    for (const dtype of ["stored", "f32", "q4_0"] as const) {
      const setokim = await lib.Setokim.load(url, { dtype, device: "cpu" });
      const { usage } = await setokim.chat([{ role: "user", content: "hello" }], { maxTokens: 3 });
      found.push({ ...setokim.weights, answered: usage.answerTokens });
      await setokim.dispose();
    }
    const wrong = await lib.Setokim.load(url, { dtype: "int4" as "q4_0" }).then(
      () => "loaded",
      (error: { code: string }) => error.code,
    );
    return { found, wrong };
  }, model);
  expect(held.found.map(({ memory }) => memory)).toEqual(["stored", "f32", "q4_0"]);
  for (const { stored, answered } of held.found) {
    expect(stored).toContain("q8_0");
    expect(answered).toBeGreaterThan(0);
  }
  const [stored = 0, f32 = 0, q4 = 0] = held.found.map((weights) => weights.memoryBytes);
  expect(q4).toBeGreaterThan(1e6);
  expect(q4).toBeLessThan(stored);
  expect(stored).toBeLessThan(f32);
  expect(held.wrong).toBe("setting-invalid");
  expect(shards).toHaveLength(1);
});

test("streams its events, and stops when the stream is cancelled", async ({ page }) => {
  await openLab(page);
  const { words, whole, code } = await page.evaluate(
    async ({ url, base64 }) => {
      const setokim = await lib.Setokim.load(url);
      const image = `data:image/png;base64,${base64}`;
      const ask = () =>
        setokim.chat([
          {
            role: "user",
            content: [
              { type: "image", image },
              { type: "text", text: "what do you see?" },
            ],
          },
        ]);
      const texts = new TransformStream<Package.AnswerEvent, string>({
        transform: (event, out) => (event.type === "text" ? out.enqueue(event.text) : undefined),
      });
      const answering = ask();
      const pieces: string[] = [];
      const reader = answering.stream().pipeThrough(texts).getReader();
      for (let next = await reader.read(); !next.done; next = await reader.read()) pieces.push(next.value);
      const stopped = ask();
      const first = stopped.stream().getReader();
      await first.read();
      await first.cancel();
      const failed = await stopped.then(
        () => "answered",
        (error) => (error as Package.SetokimError).code,
      );
      await setokim.dispose();
      return { words: pieces, whole: (await answering).text, code: failed };
    },
    { url: model, base64: sample },
  );
  expect(words.length).toBeGreaterThan(3);
  expect(words.join("")).toBe(whole);
  expect(code).toBe("aborted");
});

test("runs two models side by side", async ({ page }) => {
  await openLab(page);
  const counts = await page.evaluate(
    async ({ base64, url }) => {
      const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      const models = await Promise.all([
        lib.Setokim.load(url),
        lib.Setokim.load("/fixtures/tiny-model/", { device: "cpu" }),
      ]);
      const found = await Promise.all(models.map((each) => each.tokenize(bytes)));
      await Promise.all(models.map((each) => each.dispose()));
      return found.map(({ labels }) => labels.length);
    },
    { base64: sample, url: model },
  );
  expect(counts).toEqual([256, 16]);
});
