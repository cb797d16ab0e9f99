/** The whole package but for the WebAssembly module: page, queue, protocol, worker, loading. */

import { describe, expect, it, vi } from "vitest";
import { Setokim } from "../../../pkg/src/setokim.ts";
import type { LoadProgress } from "../../../pkg/src/types.ts";
import { url, useFakeBrowser } from "../fake-browser.ts";
import { someBytes } from "../fake-server.ts";
import { halves, memoryBytes, remembered, report } from "../fake-wasm.ts";
import { FakeWorker } from "../fake-worker.ts";

const picture = Uint8Array.of(1, 2, 3);

const { server, engine } = useFakeBrowser({ "a.safetensors": someBytes(100, 1), "b.safetensors": someBytes(60, 2) });

for (const worker of [true, false]) {
  describe(worker ? "in a worker" : "in the page", () => {
    const load = (options = {}): Promise<Setokim> => Setokim.load(url, { worker, cache: false, ...options });

    it("loads, tokenizes and reconstructs", async () => {
      const reports: LoadProgress[] = [];
      const setokim = await load({ onProgress: (progress: LoadProgress) => reports.push(progress) });
      expect(setokim.device).toEqual(report);
      expect(setokim.model).toEqual({ name: "fake", bytes: 160, config: { name: "fake" } });
      expect(reports.at(-1)).toMatchObject({ stage: "ready", fraction: 1 });
      expect(await setokim.tokenize(picture)).toEqual(halves());
      const { image, tokens } = await setokim.reconstruct(picture);
      expect(image).toMatchObject({ width: 2, height: 1 });
      expect([...image.data]).toEqual([1, 2, 3, 255, 4, 5, 6, 255]);
      expect(tokens.labels).toBeInstanceOf(Uint32Array);
      expect(setokim.network.requests).toBe(0);
      expect(setokim.memory.wasm).toBe(65_536);
      await setokim.dispose();
    });

    it("holds the weights in the type that it is asked for, and says so", async () => {
      const stored = await load();
      expect(stored.weights).toEqual({ stored: ["q8_0", "f32"], memory: "stored", memoryBytes: memoryBytes.stored });
      await stored.dispose();
      const packed = await load({ dtype: "q4_0" });
      expect(packed.weights).toEqual({ stored: ["q8_0", "f32"], memory: "q4_0", memoryBytes: memoryBytes.q4_0 });
      await packed.dispose();
      await expect(load({ dtype: "int4" })).rejects.toMatchObject({
        code: "setting-invalid",
        message: expect.stringContaining("int4"),
      });
    });

    it("tells a model's engine what was probed before, so that kernels are tested once", async () => {
      await Setokim.probe({ worker });
      remembered.length = 0;
      await (await load()).dispose();
      expect(remembered).toEqual([report]);
    });

    it("probes without loading anything", async () => {
      const probed = await Setokim.probe({ worker });
      expect(probed).toMatchObject({ ...report, download: null, memory: null, fits: null });
      expect(probed.verdict).toBe("Runs on the CPU: the browser has no WebGPU.");
      expect(server.requests).toEqual([]);
    });

    it("says what a model takes, from its manifest alone", async () => {
      expect(await Setokim.probe({ worker, model: url })).toMatchObject({ download: 160, fits: true });
      expect(server.requests.map(({ name }) => name)).toEqual(["manifest.json"]);
      server.files.set("manifest.json", new TextEncoder().encode("{}"));
      await expect(Setokim.probe({ worker, model: url })).rejects.toMatchObject({ code: "manifest-invalid" });
    });

    it("keeps the caller's buffer usable", async () => {
      const setokim = await load();
      const own = Uint8Array.of(4, 5, 6);
      await setokim.tokenize(own);
      expect(own.byteLength).toBe(3);
      await setokim.dispose();
    });

    it("answers in the order of the requests", async () => {
      const setokim = await load();
      const order: number[] = [];
      await Promise.all([1, 2, 3].map((n) => setokim.tokenize(new Uint8Array(n)).then(() => order.push(n))));
      expect(order).toEqual([1, 2, 3]);
      expect(engine().calls).toEqual(["tokenize 1", "tokenize 2", "tokenize 3"]);
      await setokim.dispose();
    });

    it("gives a typed error for a bad picture and works afterwards", async () => {
      const setokim = await load();
      await expect(setokim.tokenize(new Uint8Array(0))).rejects.toMatchObject({
        name: "SetokimError",
        code: "image-decode",
        message: "the picture cannot be read: no bytes",
        remedy: "Do it differently.",
      });
      expect(await setokim.tokenize(picture)).toEqual(halves());
      await setokim.dispose();
    });

    it("aborts before, while waiting and while running", async () => {
      const setokim = await load();
      await expect(setokim.tokenize(picture, { signal: AbortSignal.abort() })).rejects.toMatchObject({
        code: "aborted",
      });
      let open = (): void => undefined;
      engine().gate = new Promise((resolve) => (open = resolve));
      const [running, waiting] = [new AbortController(), new AbortController()];
      const first = setokim.tokenize(new Uint8Array(1), { signal: running.signal });
      const second = setokim.tokenize(new Uint8Array(2), { signal: waiting.signal });
      const third = setokim.tokenize(new Uint8Array(3));
      await vi.waitFor(() => expect(engine().calls).toEqual(["tokenize 1"]));
      waiting.abort();
      running.abort();
      await expect(first).rejects.toMatchObject({ code: "aborted" });
      await expect(second).rejects.toMatchObject({ code: "aborted" });
      open();
      await third;
      expect(engine().calls).toEqual(["tokenize 1", "tokenize 3"]);
      await setokim.dispose();
    });

    it("aborts a load", async () => {
      server.fail("a.safetensors", { kind: "hang" });
      const abort = new AbortController();
      const loading = load({ signal: abort.signal });
      await vi.waitFor(() => expect(server.requests.some(({ name }) => name === "a.safetensors")).toBe(true));
      abort.abort();
      await expect(loading).rejects.toMatchObject({ code: "aborted" });
    });

    it("rejects what a trap ends, and frees nothing of what trapped", async () => {
      const setokim = await load();
      await expect(setokim.tokenize(Uint8Array.of(0xff))).rejects.toMatchObject({ code: "crashed" });
      const trapped = engine();
      await setokim.dispose();
      expect(trapped.freed).toBe(false);
    });

    it("refuses requests after dispose, and disposing twice is harmless", async () => {
      const setokim = await load();
      let open = (): void => undefined;
      engine().gate = new Promise((resolve) => (open = resolve));
      const running = setokim.tokenize(picture);
      running.catch(() => undefined);
      await Promise.all([setokim.dispose(), setokim[Symbol.asyncDispose]()]);
      open();
      await expect(running).rejects.toMatchObject({ code: "disposed" });
      await expect(setokim.tokenize(picture)).rejects.toMatchObject({ code: "disposed" });
      expect(engine().freed).toBe(true);
    });

    it("passes errors of the load on", async () => {
      await expect(load({ device: "gpu" })).rejects.toMatchObject({
        code: "device-unavailable",
        remedy: "Choose cpu.",
      });
      await expect(Setokim.load("http://", { worker })).rejects.toMatchObject({ code: "setting-invalid" });
    });

    it("counts the pictures that it fetches", async () => {
      const setokim = await load();
      server.files.set("p.png", picture);
      await setokim.tokenize("https://example.org/p.png");
      expect(setokim.network.requests).toBe(1);
      await setokim.dispose();
    });
  });
}

describe("a worker that fails", () => {
  it("is unavailable when it cannot be made", async () => {
    vi.stubGlobal(
      "Worker",
      class {
        constructor() {
          throw new DOMException("no", "SecurityError");
        }
      },
    );
    await expect(Setokim.load(url)).rejects.toMatchObject({ code: "worker-unavailable" });
  });

  it("is unavailable when its script does not load", async () => {
    const loading = Setokim.load(url, { cache: false });
    await vi.waitFor(() => expect(FakeWorker.all).toHaveLength(1));
    FakeWorker.all[0]?.dispatch("error", {});
    await expect(loading).rejects.toMatchObject({ code: "worker-unavailable" });
  });

  it("has crashed when it dies later: what runs is told so", async () => {
    const setokim = await Setokim.load(url, { cache: false });
    engine().gate = new Promise(() => undefined);
    const running = setokim.tokenize(picture);
    running.catch(() => undefined);
    await vi.waitFor(() => expect(engine().calls).toHaveLength(1));
    FakeWorker.all[0]?.dispatch("error", { message: "out of memory" });
    await expect(running).rejects.toMatchObject({ code: "crashed", message: expect.stringContaining("out of memory") });
    expect(FakeWorker.all[0]?.terminated).toBe(true);
    await setokim.dispose();
  });
});
