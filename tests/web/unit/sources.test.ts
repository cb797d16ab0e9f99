/** Where a model may be, and what is said of an address at which it is not. */

import { describe, expect, it, vi } from "vitest";
import { folderAddress, publicAddress } from "../../../pkg/src/addresses.ts";
import { loadEngine } from "../../../pkg/src/load.ts";
import { Setokim } from "../../../pkg/src/setokim.ts";
import { UrlSource, type UrlSourceOptions } from "../../../pkg/src/weights.ts";
import { url, useFakeBrowser } from "../fake-browser.ts";
import { someBytes } from "../fake-server.ts";
import { fakeWasm } from "../fake-wasm.ts";

const { server, engine } = useFakeBrowser({ "a.safetensors": someBytes(100, 1), "b.safetensors": someBytes(60, 2) });

const retry = { attempts: 2, pause: 1, patience: 100 };

/** What a load says that fails. */
async function failure(address: string, options: UrlSourceOptions = {}): Promise<{ message: string; remedy: string }> {
  const source = new UrlSource(address, { retry, ...options });
  return loadEngine(fakeWasm, source, { device: "cpu", dtype: "stored" }).then(
    () => {
      throw new Error("it loaded");
    },
    (error: { message: string; remedy: string }) => error,
  );
}

describe("a signed address", () => {
  it("keeps its query on every file, resumed ones too, and in no message", async () => {
    server.fail("a.safetensors", { kind: "cut", after: 40 });
    const signed = `${url}?Expires=9&Signature=secret`;
    const setokim = await Setokim.load(signed, { worker: false, cache: false });
    expect(server.requests.map(({ name, search }) => `${name}${search}`).sort()).toEqual(
      ["a.safetensors", "a.safetensors", "b.safetensors", "config.json", "manifest.json"].map(
        (name) => `${name}?Expires=9&Signature=secret`,
      ),
    );
    await setokim.dispose();
    server.files.delete("b.safetensors");
    const { message } = await failure(signed);
    expect(message).toContain("b.safetensors");
    expect(message).not.toContain("secret");
    expect(publicAddress("https://me:pass@a.org/b?c#d")).toBe("https://a.org/b");
  });
});

for (const worker of [true, false]) {
  describe(worker ? "in a worker" : "in the page", () => {
    it("`headers` go with every request", async () => {
      const headers = { Authorization: "Bearer abc" };
      await using _ = await Setokim.load(url, { worker, cache: false, headers });
      expect(server.requests).toHaveLength(4);
      expect(new Set(server.requests.map(({ authorization }) => authorization))).toEqual(new Set(["Bearer abc"]));
      await Setokim.probe({ worker, model: url, headers });
      expect(server.requests.at(-1)).toMatchObject({ name: "manifest.json", authorization: "Bearer abc" });
    });

    it("`fetch` is asked in place of the browser's own, and its bodies come in pieces", async () => {
      const asked: string[] = [];
      vi.stubGlobal("fetch", () => Promise.reject(new TypeError("nobody should ask this one")));
      const fetch: typeof server.fetch = (address, init) => {
        asked.push(new URL(String(address)).pathname.split("/").pop() ?? "");
        return server.fetch(`${String(address)}?signed`, init);
      };
      server.fail("a.safetensors", { kind: "cut", after: 40 }, { kind: "status", status: 503 });
      await using setokim = await Setokim.load(url, { worker, cache: false, fetch });
      expect(asked.filter((name) => name === "a.safetensors")).toHaveLength(3);
      expect(server.requests.filter(({ name }) => name === "a.safetensors").map(({ range }) => range)).toEqual([
        undefined,
        "bytes=40-",
        "bytes=40-",
      ]);
      expect(server.requests.every(({ search }) => search === "?signed")).toBe(true);
      expect((await setokim.tokenize(Uint8Array.of(1))).tokens).toHaveLength(2);
      expect(engine().calls).toEqual(["tokenize 1"]);
    });

    it("`fetch` is stopped by the signal", async () => {
      server.fail("a.safetensors", { kind: "hang" });
      const abort = new AbortController();
      const { fetch } = server;
      const loading = Setokim.load(url, { worker, cache: false, fetch, signal: abort.signal });
      await vi.waitFor(() => expect(server.requests.some(({ name }) => name === "a.safetensors")).toBe(true));
      abort.abort();
      await expect(loading).rejects.toMatchObject({ code: "aborted" });
      await vi.waitFor(() => expect(server.active).toBe(0));
    });

    it("a `fetch` that fails is told as such", async () => {
      const fetch = async (): Promise<Response> => new Response("", { status: 403 });
      await expect(Setokim.load(url, { worker, cache: false, fetch })).rejects.toMatchObject({
        code: "network",
        message: expect.stringContaining("403"),
        remedy: expect.stringContaining("`headers`"),
      });
    });
  });
}

describe("an address of no folder is told as what it is, before anything is asked:", () => {
  it.each([
    ["https://a.org/m/tiny.Q4_0.gguf", "unsupported", "tiny.Q4_0.gguf", "setokim convert"],
    ["https://a.org/m/tiny.gguf?download=true", "unsupported", "tiny.gguf", "--language tiny.gguf"],
    ["https://a.org/m/model.ONNX", "unsupported", "model.ONNX", "docs/convert.md"],
    ["https://a.org/m/pytorch_model.bin", "unsupported", "pytorch_model.bin", "setokim convert pytorch_model.bin -o"],
    ["https://a.org/m/model.safetensors", "setting-invalid", "model.safetensors", "https://a.org/m/"],
    ["https://a.org/m/config.json?x=1", "setting-invalid", "config.json", "https://a.org/m/"],
    [
      "https://huggingface.co/org/name",
      "setting-invalid",
      "page about a model",
      "https://huggingface.co/org/name/resolve/main/",
    ],
    [
      "https://huggingface.co/org/name/tree/v2",
      "setting-invalid",
      "page",
      "https://huggingface.co/org/name/resolve/v2/",
    ],
    ["https://hf.co/org/name/", "setting-invalid", "page", "https://huggingface.co/org/name/resolve/main/"],
    ["models/tiny/", "setting-invalid", "not an address", "whole address"],
  ])("%s", async (address, code, word, remedy) => {
    await expect(Setokim.load(address, { worker: false })).rejects.toMatchObject({
      code,
      message: expect.stringContaining(word),
      remedy: expect.stringContaining(remedy),
    });
    await expect(Setokim.probe({ model: address, worker: false })).rejects.toMatchObject({ code });
    expect(server.requests).toEqual([]);
  });

  it("and what the remedy names is taken", () => {
    const folder = "https://huggingface.co/org/name/resolve/main/";
    for (const address of [folder, "https://a.org/m/", "https://a.org/my.model/", "https://a.org/v1.5"]) {
      expect(folderAddress(address)).toBe(address);
    }
  });
});

describe("a folder that is not there, or not ours", () => {
  it("of another program", async () => {
    server.files.set("config.json", new TextEncoder().encode('{"model_type":"llama","architectures":["L"]}'));
    server.files.delete("manifest.json");
    expect(await failure(url)).toMatchObject({
      code: "unsupported",
      message: expect.stringContaining("another program (llama)"),
      remedy: expect.stringContaining("setokim convert"),
    });
  });

  it("a name of the hub", async () => {
    server.files.clear();
    expect(await failure(url, { asked: "org/name-1.5" })).toMatchObject({
      code: "network",
      remedy: expect.stringContaining("https://huggingface.co/org/name-1.5/resolve/main/"),
    });
    expect((await failure(url, { asked: "/org/name" })).remedy).toContain("config.json and manifest.json stand in it");
  });

  it("without leave", async () => {
    server.fail("config.json", { kind: "status", status: 401 });
    const { message, remedy } = await failure(url);
    expect(message).toContain("401");
    expect(remedy).toContain("`headers`");
    server.fail("config.json", { kind: "status", status: 401 });
    await expect(Setokim.load(url, { worker: false, cache: false })).rejects.toMatchObject({ code: "network" });
    // As the remedy says.
    await using _ = await Setokim.load(url, { worker: false, cache: false, headers: { Authorization: "x" } });
  });

  it("on another site that does not let pages read it", async () => {
    vi.stubGlobal("origin", "https://page.org");
    vi.stubGlobal("fetch", async (_: string, { mode }: RequestInit) => {
      if (mode === "no-cors") return new Response();
      throw new TypeError("Failed to fetch");
    });
    const { message, remedy } = await failure(url, { headers: { "X-Key": "1" } });
    expect(message).toContain("CORS");
    expect(remedy).toContain("Have https://example.org send `Access-Control-Allow-Origin: *`");
    expect(remedy).toContain("`Access-Control-Allow-Headers: X-Key`");
  });

  it("where no server is", async () => {
    vi.stubGlobal("origin", "https://page.org");
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("Failed to fetch")));
    const { message } = await failure(url);
    expect(message).toContain("Failed to fetch");
    expect(message).not.toContain("CORS");
    vi.stubGlobal("location", { protocol: "https:", href: "https://page.org/" });
    expect((await failure("http://a.org/m/")).message).toContain("secure page");
  });
});
