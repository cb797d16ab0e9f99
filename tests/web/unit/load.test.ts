import { describe, expect, it, vi } from "vitest";
import { type Store, WeightCache } from "../../../pkg/src/cache.ts";
import { type EngineOptions, type LoadedEngine, loadEngine } from "../../../pkg/src/load.ts";
import type { LoadProgress } from "../../../pkg/src/types.ts";
import { FileSource, UrlSource } from "../../../pkg/src/weights.ts";
import { url, useFakeBrowser } from "../fake-browser.ts";
import { someBytes } from "../fake-server.ts";
import { FakeLoader, fakeWasm, loaders, rustError, sha256 } from "../fake-wasm.ts";

const shards = {
  "a.safetensors": someBytes(100, 1),
  "b.safetensors": someBytes(50, 2),
  "c.safetensors": someBytes(30, 3),
};

const { server } = useFakeBrowser(shards);

function load(options: Partial<EngineOptions> = {}): Promise<LoadedEngine> {
  const source = new UrlSource(url, {
    signal: options.signal,
    retry: { attempts: 3, pause: 1, patience: 100 },
  });
  return loadEngine(fakeWasm, source, { device: "auto", dtype: "stored", url, ...options });
}

class MemoryStore implements Store {
  readonly entries = new Map<string, Uint8Array<ArrayBuffer>>();
  async read(key: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return this.entries.get(key);
  }
  async write(key: string, bytes: Uint8Array): Promise<void> {
    this.entries.set(key, Uint8Array.from(bytes));
  }
  async remove(key: string): Promise<void> {
    this.entries.delete(key);
  }
  async keys(): Promise<string[]> {
    return [...this.entries.keys()];
  }
}

const manifest = (files: object[]): Uint8Array => new TextEncoder().encode(JSON.stringify({ files }));

const requested = (name: string): number => server.requests.filter((request) => request.name === name).length;

describe("loadEngine", () => {
  it("adds every shard in order and reports each stage with a fraction that never goes back", async () => {
    const reports: LoadProgress[] = [];
    const { model } = await load({ onProgress: (progress) => reports.push(progress), warmUp: true });
    expect(loaders[0]?.added).toEqual(Object.keys(shards));
    expect(model).toMatchObject({ name: "fake", bytes: 180 });
    expect(loaders[0]?.engine.calls).toEqual(["tokenize_rgba 1024 16x16"]);
    expect([...new Set(reports.map(({ stage }) => stage))].sort()).toEqual([
      "compile",
      "download",
      "ready",
      "upload",
      "verify",
      "warmup",
    ]);
    const fractions = reports.map(({ fraction }) => fraction);
    expect(fractions).toEqual([...fractions].sort((a, b) => a - b));
    expect(reports.at(-1)).toMatchObject({ stage: "ready", fraction: 1, loaded: 180, total: 180 });
    const downloads = reports.filter(({ stage, file }) => stage === "download" && file === "a.safetensors");
    expect(downloads.length).toBeGreaterThan(5);
    expect(downloads.at(-1)).toMatchObject({ total: 180, cached: false });
  });

  it("warms up on a GPU only, unless told otherwise", async () => {
    await load();
    expect(loaders[0]?.engine.calls).toEqual([]);
  });

  it("has at most two shards under way", async () => {
    await load();
    expect(server.mostActive).toBe(2);
  });

  it("goes on where a connection was cut", async () => {
    server.fail("a.safetensors", { kind: "cut", after: 40 }, { kind: "cut", after: 20 });
    await load();
    expect(server.requests.filter(({ name }) => name === "a.safetensors").map(({ range }) => range)).toEqual([
      undefined,
      "bytes=40-",
      "bytes=60-",
    ]);
    expect(loaders[0]?.added).toContain("a.safetensors");
  });

  it("goes on where a connection fell silent", async () => {
    server.fail("manifest.json", { kind: "hang" });
    server.fail("a.safetensors", { kind: "stall", after: 40 });
    await load();
    expect(requested("manifest.json")).toBe(2);
    expect(server.requests.filter(({ name }) => name === "a.safetensors").map(({ range }) => range)).toEqual([
      undefined,
      "bytes=40-",
    ]);
    expect(server.active).toBe(0);
  });

  it("notices that a file was replaced between two halves of its download", async () => {
    server.fail("a.safetensors", { kind: "cut", after: 40, spoilt: true });
    await load();
    expect(loaders[0]?.added).toContain("a.safetensors");
    expect(server.requests.filter(({ name }) => name === "a.safetensors").map(({ cache }) => cache)).toEqual([
      "default",
      "default",
      "reload",
    ]);
  });

  it("takes no memory for bytes that the server does not have", async () => {
    server.files.set("manifest.json", manifest([{ name: "a.safetensors", bytes: 2 ** 31, sha256: "" }]));
    const allocated: unknown[] = [];
    class Counted extends Uint8Array {
      constructor(...given: [number]) {
        super(...given);
        allocated.push(given[0]);
      }
    }
    server.files.delete("a.safetensors");
    vi.stubGlobal("Uint8Array", Counted);
    await expect(load()).rejects.toMatchObject({ code: "network" });
    expect(allocated.filter((length) => length === 2 ** 31)).toEqual([]);
  });

  it("refuses a longer file by its header, before it is read", async () => {
    server.fail("a.safetensors", { kind: "claims", length: 2 ** 40 });
    const reports: LoadProgress[] = [];
    await expect(load({ onProgress: (progress) => reports.push(progress) })).rejects.toMatchObject({
      code: "shard-corrupt",
    });
    expect(reports.filter(({ file, loaded }) => file === "a.safetensors" && loaded > 0)).toEqual([]);
  });

  it("does not trust the length of another site's answer: it may be that of a packed one", async () => {
    server.fail("a.safetensors", { kind: "claims", length: 120 });
    vi.stubGlobal("fetch", async (...given: Parameters<typeof server.fetch>) =>
      Object.defineProperty(await server.fetch(...given), "type", { value: "cors" }),
    );
    await load();
    expect(loaders[0]?.added).toEqual(Object.keys(shards));
  });

  it("refuses a model that no memory holds, with both figures, before it is downloaded", async () => {
    const files = ["a", "b", "c"].map((name) => ({ name: `${name}.safetensors`, bytes: 2 ** 31, sha256: "" }));
    server.files.set("manifest.json", manifest(files));
    await expect(load({ device: "cpu" })).rejects.toMatchObject({
      code: "out-of-memory",
      message: "the model on the CPU needs 6144 MiB, and at most 4096 MiB can be had",
    });
    expect(requested("a.safetensors")).toBe(0);
    expect(loaders[0]?.freed).toBe(true);
    // Packed while it is loaded it may well fit, so its files (too short here) are asked for.
    await expect(load({ device: "cpu", dtype: "q4_0" })).rejects.toMatchObject({ code: "shard-corrupt" });
    expect(requested("a.safetensors")).toBeGreaterThan(0);
  });

  it("says that memory is short when the browser gives none", async () => {
    const { Uint8Array: Real } = globalThis;
    // biome-ignore lint/complexity/useArrowFunction: it is called with `new`
    vi.stubGlobal("Uint8Array", function (length: number) {
      if (length === 100) throw new RangeError("Array buffer allocation failed");
      return new Real(length);
    });
    await expect(load()).rejects.toMatchObject({
      code: "out-of-memory",
      message: expect.stringContaining("a.safetensors"),
    });
  });

  it("refuses a config or manifest without end", async () => {
    server.files.set("manifest.json", new Uint8Array((4 << 20) + 1));
    await expect(load()).rejects.toMatchObject({ code: "manifest-invalid", message: expect.stringContaining("4 MiB") });
    expect(server.active).toBe(0);
  });

  it("starts over when the server knows no ranges", async () => {
    server.fail("a.safetensors", { kind: "cut", after: 40 }, { kind: "no-range" });
    await load();
    expect(loaders[0]?.added).toContain("a.safetensors");
  });

  it("tries again after a server error, not after a missing file", async () => {
    server.fail("a.safetensors", { kind: "status", status: 503 }, { kind: "offline" });
    await load();
    expect(requested("a.safetensors")).toBe(3);

    server.files.delete("b.safetensors");
    await expect(load()).rejects.toMatchObject({ code: "network", message: expect.stringContaining("404") });
    expect(requested("b.safetensors")).toBe(2);
    expect(loaders.at(-1)?.freed).toBe(true);
    expect(server.active).toBe(0);
  });

  it("gives up after some failures in a row", async () => {
    server.fail("a.safetensors", ...Array.from({ length: 9 }, () => ({ kind: "offline" }) as const));
    await expect(load()).rejects.toMatchObject({ code: "network" });
    expect(requested("a.safetensors")).toBe(3);
  });

  it("gives up on a server that knows no ranges and cuts here and there", async () => {
    const cut = (after: number) => ({ kind: "cut", after, whole: true }) as const;
    server.fail("a.safetensors", ...Array.from({ length: 40 }, (_, time) => cut(time % 2 === 0 ? 20 : 40)));
    await expect(load()).rejects.toMatchObject({ code: "network" });
    expect(requested("a.safetensors")).toBeLessThan(8);
  });

  it("names a page that is sent in a file's place", async () => {
    vi.stubGlobal("fetch", async () => new Response("<!doctype html>", { headers: { "content-type": "text/html" } }));
    await expect(load()).rejects.toMatchObject({ code: "network", message: expect.stringContaining("web page") });
  });

  it("says that a shard is shorter or longer than the manifest claims", async () => {
    server.files.set("a.safetensors", shards["a.safetensors"].subarray(0, 60));
    await expect(load()).rejects.toMatchObject({ code: "shard-corrupt" });
    server.files.set("a.safetensors", someBytes(120, 1));
    await expect(load()).rejects.toMatchObject({ code: "shard-corrupt" });
  });

  it("never leaves the model's folder", async () => {
    server.files.set(
      "manifest.json",
      new TextEncoder().encode(JSON.stringify({ files: [{ name: "../../x", bytes: 1, sha256: "" }] })),
    );
    await expect(load()).rejects.toMatchObject({ code: "manifest-invalid" });
  });

  it("keeps the code of an error from Rust", async () => {
    await expect(load({ device: "gpu" })).rejects.toMatchObject({ code: "device-unavailable", remedy: "Choose cpu." });
  });

  it("stops when it is aborted, in the middle of a download or before", async () => {
    server.fail("a.safetensors", { kind: "hang" });
    const abort = new AbortController();
    const loading = load({ signal: abort.signal });
    await vi.waitFor(() => expect(requested("a.safetensors")).toBe(1));
    abort.abort();
    await expect(loading).rejects.toMatchObject({ code: "aborted" });
    expect(loaders[0]?.freed).toBe(true);
    await expect(load({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "aborted" });
  });
});

describe("an abort", () => {
  /** Counts the reports of a whole load, so that each of them can be the moment of an abort. */
  const moments = async (options: Partial<EngineOptions>): Promise<number> => {
    let count = 0;
    await load({ ...options, onProgress: () => void (count += 1) });
    return count;
  };

  it("leaves nothing running, whenever it comes", async () => {
    const options = { warmUp: true };
    const all = await moments(options);
    expect(all).toBeGreaterThan(20);
    for (let moment = 0; moment < all - 1; moment += 1) {
      const abort = new AbortController();
      let count = 0;
      const onProgress = (): void => {
        if (count === moment) abort.abort();
        count += 1;
      };
      await expect(load({ ...options, signal: abort.signal, onProgress }), `at report ${moment}`).rejects.toMatchObject(
        {
          code: "aborted",
        },
      );
      const asked = server.requests.length;
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(server.active, `requests after report ${moment}`).toBe(0);
      expect(server.requests.length).toBe(asked);
      const loader = loaders.at(-1);
      if (moment > 0)
        expect(loader?.freed === true || loader?.engine.freed === true, `memory after ${moment}`).toBe(true);
    }
  });
});

it("a load that traps frees nothing of what trapped", async () => {
  const broken = { ...fakeWasm, Loader: { create: async () => loader } };
  const loader = new FakeLoader([]);
  loader.engine.tokenize_rgba = () => Promise.reject(new WebAssembly.RuntimeError("unreachable"));
  await expect(
    loadEngine(broken, new UrlSource(url), { device: "gpu", dtype: "stored", warmUp: true }),
  ).rejects.toMatchObject({ code: "crashed" });
  expect([loader.freed, loader.engine.freed]).toEqual([false, false]);
});

it("a load that fails in its warm-up gives the engine back", async () => {
  const broken = { ...fakeWasm, Loader: { create: async () => loader } };
  const loader = new FakeLoader([]);
  loader.engine.tokenize_rgba = () => Promise.reject(rustError("device-lost", "the GPU device was lost"));
  const source = new UrlSource(url);
  await expect(loadEngine(broken, source, { device: "gpu", dtype: "stored", warmUp: true })).rejects.toMatchObject({
    code: "device-lost",
  });
  expect(loader.engine.freed).toBe(true);
});

describe("the cache", () => {
  it("makes a second load need no network", async () => {
    const cache = new WeightCache(new MemoryStore());
    await load({ cache });
    vi.stubGlobal("fetch", async () => {
      throw new TypeError("Failed to fetch");
    });
    const reports: LoadProgress[] = [];
    await load({ cache, onProgress: (progress) => reports.push(progress) });
    expect(loaders[1]?.added).toEqual(Object.keys(shards));
    expect(reports.filter(({ file }) => file !== undefined).every(({ cached }) => cached === true)).toBe(true);
  });

  it("does not ask again for shards that it has, but for the manifest", async () => {
    const cache = new WeightCache(new MemoryStore());
    await load({ cache });
    await load({ cache });
    expect(requested("a.safetensors")).toBe(1);
    expect(requested("manifest.json")).toBe(2);
  });

  it("fetches a spoilt shard once more, past the browser's own cache", async () => {
    const store = new MemoryStore();
    const cache = new WeightCache(store);
    await load({ cache });
    store.entries.set(`shard-${sha256(shards["a.safetensors"])}`, new Uint8Array(100));
    await load({ cache });
    expect(server.requests.filter(({ name }) => name === "a.safetensors").map((request) => request.cache)).toEqual([
      "default",
      "reload",
    ]);
    server.fail("b.safetensors", { kind: "spoilt" });
    await load();
    server.fail("b.safetensors", { kind: "spoilt" }, { kind: "spoilt" });
    await expect(load()).rejects.toMatchObject({ code: "hash-mismatch" });
  });

  it("lists models and deletes what no other needs", async () => {
    const store = new MemoryStore();
    const cache = new WeightCache(store);
    await load({ cache });
    const other = "https://example.org/models/other";
    server.addModel({ "a.safetensors": shards["a.safetensors"], "d.safetensors": someBytes(10, 9) });
    await loadEngine(fakeWasm, new UrlSource(other), { device: "auto", dtype: "stored", url: other, cache });
    expect((await cache.list()).map(({ url: address, name, bytes }) => [address, name, bytes]).sort()).toEqual([
      [url, "fake", 180],
      [other, "fake", 110],
    ]);
    await cache.delete(other);
    expect((await cache.list()).map((model) => model.url)).toEqual([url]);
    expect(store.entries.has(`shard-${sha256(shards["a.safetensors"])}`)).toBe(true);
    expect(store.entries.has(`shard-${sha256(someBytes(10, 9))}`)).toBe(false);
    await cache.delete();
    expect(store.entries.size).toBe(0);
  });

  it("fetches only what was evicted", async () => {
    const store = new MemoryStore();
    const cache = new WeightCache(store);
    await load({ cache });
    store.entries.delete(`shard-${sha256(shards["b.safetensors"])}`);
    await load({ cache });
    expect(["a", "b", "c"].map((name) => requested(`${name}.safetensors`))).toEqual([1, 2, 1]);
  });

  it("finds one flipped bit, in a shard and in the texts", async () => {
    const store = new MemoryStore();
    const cache = new WeightCache(store);
    await load({ cache });
    for (const [key, bytes] of [...store.entries]) {
      const at = bytes.byteLength >> 1;
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      await load({ cache });
      expect(loaders.at(-1)?.added, key).toEqual(Object.keys(shards));
    }
    const [key = ""] = [...store.entries.keys()].filter((name) => name.startsWith("model-"));
    const record = store.entries.get(key) ?? new Uint8Array();
    const text = new TextDecoder().decode(record);
    store.entries.set(key, new TextEncoder().encode(text.replace("fake", "fame")));
    server.fail("config.json", { kind: "status", status: 404 });
    await expect(load({ cache }), "offline, the changed config is not used").rejects.toMatchObject({ code: "network" });
  });

  it("does not list a model for which there was no room", async () => {
    const store = new MemoryStore();
    const write = store.write.bind(store);
    store.write = (key, bytes) =>
      key.startsWith("shard-") && bytes.byteLength > 60
        ? Promise.reject(new DOMException("full", "QuotaExceededError"))
        : write(key, bytes);
    const cache = new WeightCache(store);
    await load({ cache });
    expect(await cache.list()).toEqual([]);
  });

  it("serves two loads at once", async () => {
    const store = new MemoryStore();
    await Promise.all([load({ cache: new WeightCache(store) }), load({ cache: new WeightCache(store) })]);
    expect(loaders.map(({ added }) => added)).toEqual([Object.keys(shards), Object.keys(shards)]);
    const before = requested("a.safetensors");
    await load({ cache: new WeightCache(store) });
    expect(requested("a.safetensors")).toBe(before);
  });

  it("is as if it were not there when storage fails", async () => {
    const broken: Store = {
      read: () => Promise.reject(new Error("no")),
      write: () => Promise.reject(new DOMException("full", "QuotaExceededError")),
      remove: () => Promise.reject(new Error("no")),
      keys: () => Promise.reject(new Error("no")),
    };
    const cache = new WeightCache(broken);
    await load({ cache });
    expect(await cache.list()).toEqual([]);
    await cache.delete();
  });
});

describe("files that the person picked", () => {
  const files = (): File[] =>
    [...server.files].map(([name, bytes]) => new File([bytes as Uint8Array<ArrayBuffer>], name));

  it("load like a folder on a server", async () => {
    await loadEngine(fakeWasm, new FileSource(files()), { device: "cpu", dtype: "stored" });
    expect(loaders[0]?.added).toEqual(Object.keys(shards));
    expect(server.requests).toEqual([]);
  });

  it("are named when one is missing", async () => {
    const source = new FileSource(files().filter(({ name }) => name !== "b.safetensors"));
    await expect(loadEngine(fakeWasm, source, { device: "cpu", dtype: "stored" })).rejects.toMatchObject({
      code: "io",
      message: expect.stringContaining("b.safetensors"),
    });
  });
});
