/** Bad days in a real browser: storage and networks that fail. */

import { expect, type Route } from "@playwright/test";
import type * as Package from "setokim";
import { test } from "./helpers.ts";
import { loadTiny, openLab, tiny, tinyFiles } from "./tiny.ts";

declare const lib: typeof Package;

// --- storage

test("one flipped bit in the storage is found, and put right", async ({ page }) => {
  await openLab(page);
  const first = await loadTiny(page);
  expect(first).toMatchObject({ outcome: "loaded", fetched: tinyFiles, kept: ["tiny-model"] });
  expect((await loadTiny(page)).fetched).toEqual([]);
  const flipped = await page.evaluate(async () => {
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("setokim-v1");
    for await (const [name, handle] of folder.entries()) {
      if (!name.startsWith("shard-") || !(handle instanceof FileSystemFileHandle)) continue;
      const bytes = new Uint8Array(await (await handle.getFile()).arrayBuffer());
      if (bytes.byteLength < 50_000) continue; // the weights, not the tokenizer
      bytes[30_000] = (bytes[30_000] ?? 0) ^ 4;
      const file = await handle.createWritable();
      await file.write(bytes);
      await file.close();
      return name;
    }
    return "none";
  });
  expect(flipped).toMatch(/^shard-/);
  expect(await loadTiny(page)).toEqual({ ...first, fetched: [tinyFiles[0]] });
  expect(await loadTiny(page)).toEqual({ ...first, fetched: [] });
});

test("what was evicted is fetched again, and no more", async ({ page }) => {
  await openLab(page);
  const first = await loadTiny(page);
  await page.evaluate(async () => {
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("setokim-v1");
    const names: [string, number][] = [];
    for await (const [name, handle] of folder.entries()) {
      if (handle instanceof FileSystemFileHandle) names.push([name, (await handle.getFile()).size]);
    }
    const [[largest = ""] = []] = names.sort((a, b) => b[1] - a[1]);
    await folder.removeEntry(largest);
  });
  expect(await loadTiny(page)).toEqual({ ...first, fetched: [tinyFiles[0]] });
});

test("a full disk costs the storage, not the model", async ({ page, context }) => {
  await openLab(page);
  const devtools = await context.newCDPSession(page);
  await devtools.send("Storage.overrideQuotaForOrigin", { origin: new URL(page.url()).origin, quotaSize: 20_000 });
  const full = await loadTiny(page);
  expect(full).toMatchObject({ outcome: "loaded", kept: [] });
  await devtools.send("Storage.overrideQuotaForOrigin", { origin: new URL(page.url()).origin });
  expect(await loadTiny(page)).toMatchObject({ outcome: "loaded", labels: full.labels, kept: ["tiny-model"] });
});

test("two tabs load at once", async ({ page, context }) => {
  const other = await context.newPage();
  await Promise.all([openLab(page), openLab(other)]);
  const [ours, theirs] = await Promise.all([loadTiny(page), loadTiny(other)]);
  expect(ours).toMatchObject({ outcome: "loaded", labels: theirs.labels });
  await other.close();
  expect(await loadTiny(page)).toMatchObject({
    outcome: "loaded",
    labels: ours.labels,
    fetched: [],
    kept: ["tiny-model"],
  });
});

test("a private window without any storage loads all the same", async ({ page }) => {
  await page.addInitScript(() => {
    const refuse = (): Promise<never> => Promise.reject(new DOMException("not in a private window", "SecurityError"));
    Object.defineProperty(StorageManager.prototype, "getDirectory", { value: refuse });
    Object.defineProperty(CacheStorage.prototype, "open", { value: refuse });
  });
  await openLab(page);
  const first = await loadTiny(page, { worker: false });
  expect(first).toMatchObject({ outcome: "loaded", fetched: tinyFiles, kept: [] });
  expect(await loadTiny(page, { worker: false })).toEqual(first);
});

test("a storage that never answers costs seconds, not the model", async ({ page }) => {
  await page.addInitScript(() => {
    const silent = (): Promise<never> => new Promise(() => undefined);
    Object.defineProperty(StorageManager.prototype, "getDirectory", { value: silent });
    Object.defineProperty(CacheStorage.prototype, "keys", { value: silent });
  });
  await openLab(page);
  expect(await loadTiny(page, { worker: false })).toMatchObject({ outcome: "loaded", fetched: tinyFiles, kept: [] });
});

test("without the file system the Cache API keeps the model", async ({ page }) => {
  await page.addInitScript(() => Object.defineProperty(StorageManager.prototype, "getDirectory", { value: undefined }));
  await openLab(page);
  expect(await loadTiny(page, { worker: false })).toMatchObject({
    outcome: "loaded",
    fetched: tinyFiles,
    kept: ["tiny-model"],
  });
  expect(await loadTiny(page, { worker: false })).toMatchObject({ outcome: "loaded", fetched: [] });
});

// --- network

test("survives what a network does, or says what it was", async ({ page, context }) => {
  await openLab(page);
  const good = await loadTiny(page, { cache: false });
  type Fault = (route: Route, asked: number) => Promise<void>;
  const bytesOf = async (route: Route): Promise<Buffer> => {
    const { range: _, ...headers } = route.request().headers();
    return (await route.fetch({ headers })).body();
  };
  const faults: Record<string, [outcome: string, fault: Fault]> = {
    "500 once": ["loaded", (route, asked) => (asked === 1 ? route.fulfill({ status: 500 }) : route.continue())],
    slow: [
      "loaded",
      async (route) => {
        await new Promise((resolve) => setTimeout(resolve, 1500));
        await route.continue();
      },
    ],
    "no connection twice": [
      "loaded",
      (route, asked) => (asked < 3 ? route.abort("connectionreset") : route.continue()),
    ],
    redirect: [
      "loaded",
      (route) =>
        new URL(route.request().url()).search === ""
          ? route.fulfill({ status: 302, headers: { location: `${tiny}${tinyFiles[0]}?moved` } })
          : route.continue(),
    ],
    "cut, and no ranges": [
      "loaded",
      async (route, asked) => {
        const body = await bytesOf(route);
        await route.fulfill({ status: 200, body: asked === 1 ? body.subarray(0, 1000) : body });
      },
    ],
    "wrong bytes once": [
      "loaded",
      async (route, asked) => {
        const body = await bytesOf(route);
        await route.fulfill({ body: asked === 1 ? Buffer.alloc(body.byteLength) : body });
      },
    ],
    "404": ["network", (route) => route.fulfill({ status: 404 })],
    "500 for ever": ["network", (route) => route.fulfill({ status: 500 })],
    "another length": [
      "shard-corrupt",
      async (route) => route.fulfill({ body: Buffer.concat([await bytesOf(route), Buffer.alloc(8)]) }),
    ],
    "wrong bytes for ever": [
      "hash-mismatch",
      async (route) => route.fulfill({ body: Buffer.alloc((await bytesOf(route)).byteLength) }),
    ],
  };
  const outcomes: Record<string, string> = {};
  for (const [name, [, fault]] of Object.entries(faults)) {
    let asked = 0;
    await context.route(
      (url) => url.pathname.endsWith(tinyFiles[0] ?? "?"),
      (route) => fault(route, (asked += 1)),
    );
    const { outcome, labels } = await loadTiny(page, { cache: false });
    outcomes[name] = outcome;
    if (outcome === "loaded") expect(labels, name).toBe(good.labels);
    await context.unrouteAll();
  }
  expect(outcomes).toEqual(Object.fromEntries(Object.entries(faults).map(([name, [outcome]]) => [name, outcome])));
});

test("an aborted load leaves no worker and no request", async ({ page, context }) => {
  await openLab(page);
  let asked = 0;
  await context.route("**/*.safetensors", async (route) => {
    asked += 1;
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await route.continue().catch(() => undefined); // aborted meanwhile
  });
  const code = await page.evaluate(async (url) => {
    const abort = new AbortController();
    const loading = lib.Setokim.load(url, {
      device: "cpu",
      cache: false,
      signal: abort.signal,
      onProgress: ({ total }) => total > 0 && setTimeout(() => abort.abort(), 200),
    });
    return loading.then(
      () => "loaded",
      (error: unknown) => (error instanceof lib.SetokimError ? error.code : String(error)),
    );
  }, tiny);
  expect(code).toBe("aborted");
  await expect.poll(() => page.workers().length).toBe(0);
  // Nobody is left who could ask: a second load, which asks once, finds the count where it was.
  expect(await loadTiny(page, { cache: false })).toMatchObject({ outcome: "loaded" });
  expect(asked).toBe(2);
});
