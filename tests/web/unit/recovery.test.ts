/** What becomes of a model whose engine fails: the request is told, and the next one has a new engine. */

import { beforeEach, describe, expect, it, vi } from "vitest";
import { RemoteHost } from "../../../pkg/src/remote.ts";
import { serve } from "../../../pkg/src/server.ts";
import { Setokim } from "../../../pkg/src/setokim.ts";
import type { LoadOptions, Recovery } from "../../../pkg/src/types.ts";
import { url, useFakeBrowser } from "../fake-browser.ts";
import { halves, machine } from "../fake-wasm.ts";
import { FakeWorker } from "../fake-worker.ts";

const picture = Uint8Array.of(1, 2, 3);
const trap = Uint8Array.of(0xff);
const loss = Uint8Array.of(0xfe);
const tooLarge = Uint8Array.of(0xfd);

let recoveries: Recovery[];

const { server, engine } = useFakeBrowser();
beforeEach(() => {
  recoveries = [];
});

const load = (options: LoadOptions = {}): Promise<Setokim> =>
  Setokim.load(url, { cache: false, onRecovery: (recovery) => recoveries.push(recovery), ...options });

describe("in a worker", () => {
  for (const [code, bytes] of [
    ["crashed", trap],
    ["device-lost", loss],
    ["out-of-memory", tooLarge],
  ] as const) {
    it(`answers in a fresh worker after \`${code}\``, async () => {
      const setokim = await load();
      await expect(setokim.tokenize(bytes)).rejects.toMatchObject({ code });
      expect(FakeWorker.all.map(({ terminated }) => terminated)).toEqual([true]);
      expect(await setokim.tokenize(picture)).toEqual(halves());
      expect(FakeWorker.all.map(({ terminated }) => terminated)).toEqual([true, false]);
      expect(recoveries).toMatchObject([{ error: { code }, device: { device: "cpu" } }]);
      await setokim.dispose();
      expect(engine().freed).toBe(true);
    });
  }

  it("keeps the type of the weights, on another device too", async () => {
    machine.gpu = true;
    const setokim = await load({ dtype: "q4_0" });
    for (let loss = 0; loss < 2; loss += 1) {
      await expect(setokim.tokenize(trap)).rejects.toMatchObject({ code: "crashed" });
    }
    await setokim.tokenize(picture);
    expect(setokim.device.device).toBe("cpu");
    expect(engine().weights()).toMatchObject({ memory: "q4_0" });
    expect(setokim.weights).toEqual({ stored: ["q8_0", "f32"], memory: "q4_0", memoryBytes: 72 });
    await setokim.dispose();
  });

  it("rejects only the request that runs; those that wait are answered by the new engine", async () => {
    const setokim = await load();
    const [first, second, third] = [setokim.tokenize(trap), setokim.tokenize(picture), setokim.tokenize(picture)];
    await expect(first).rejects.toMatchObject({ code: "crashed" });
    expect([await second, await third]).toEqual([halves(), halves()]);
    expect(FakeWorker.all).toHaveLength(2);
    await setokim.dispose();
  });

  it("rejects what runs when the worker ends without a word, which only its lock tells", async () => {
    let lockIsFree = (): void => undefined;
    vi.stubGlobal("navigator", {
      locks: {
        // The worker asks first and keeps the lock; the page's turn comes when the worker is gone.
        request: vi
          .fn()
          .mockImplementationOnce((_name: string, held: () => Promise<never>) => held())
          .mockImplementationOnce((_name: string, _options: unknown, granted: () => void) => {
            lockIsFree = granted;
            return new Promise(() => undefined);
          })
          .mockImplementation(() => new Promise(() => undefined)),
      },
    });
    const setokim = await load();
    engine().gate = new Promise(() => undefined);
    const running = setokim.tokenize(picture);
    await vi.waitFor(() => expect(engine().calls).toHaveLength(1));
    lockIsFree();
    await expect(running).rejects.toMatchObject({ code: "crashed" });
    await setokim.dispose();
  });

  it("costs no request a failure when the worker dies between two of them", async () => {
    const setokim = await load();
    FakeWorker.all[0]?.dispatch("error", { message: "out of memory" });
    expect(await setokim.tokenize(picture)).toEqual(halves());
    expect(recoveries).toMatchObject([{ error: { code: "crashed" } }]);
    await setokim.dispose();
  });

  it("tries once more when the new engine cannot be loaded", async () => {
    const setokim = await load();
    await expect(setokim.tokenize(trap)).rejects.toMatchObject({ code: "crashed" });
    server.fail("config.json", { kind: "status", status: 404 });
    await expect(setokim.tokenize(picture)).rejects.toMatchObject({ code: "network" });
    expect(recoveries).toEqual([]);
    expect(await setokim.tokenize(picture)).toEqual(halves());
    expect(FakeWorker.all.map(({ terminated }) => terminated).filter((ended) => !ended)).toHaveLength(1);
    await setokim.dispose();
  });

  it("gives the GPU up after two losses in a row, and says so", async () => {
    machine.gpu = true;
    const setokim = await load({ device: "gpu" });
    await expect(setokim.tokenize(loss)).rejects.toMatchObject({ code: "device-lost" });
    await setokim.tokenize(picture);
    expect(setokim.device.device).toBe("gpu");
    // One that was answered lies between this loss and the last: they are not in a row.
    await expect(setokim.tokenize(loss)).rejects.toMatchObject({ code: "device-lost" });
    await setokim.tokenize(picture);
    expect(setokim.device.device).toBe("gpu");

    await expect(setokim.tokenize(loss)).rejects.toMatchObject({ code: "device-lost" });
    await expect(setokim.tokenize(loss)).rejects.toMatchObject({ code: "device-lost" });
    await setokim.tokenize(picture);
    expect(setokim.device).toMatchObject({ device: "cpu", reason: expect.stringContaining("2 times in a row") });
    expect(recoveries.at(-1)?.device).toEqual(setokim.device);
    expect(engine().device().device).toBe("cpu");

    // And it stays with the CPU.
    await expect(setokim.tokenize(trap)).rejects.toMatchObject({ code: "crashed" });
    await setokim.tokenize(picture);
    expect(setokim.device).toMatchObject({ device: "cpu", reason: expect.stringContaining("2 times in a row") });
    await setokim.dispose();
  });

  it("leaves no worker behind when it is given back in the middle of a recovery", async () => {
    const setokim = await load();
    await expect(setokim.tokenize(trap)).rejects.toMatchObject({ code: "crashed" });
    server.fail("a.safetensors", { kind: "hang" });
    const waiting = setokim.tokenize(picture);
    waiting.catch(() => undefined);
    await vi.waitFor(() => expect(FakeWorker.all).toHaveLength(2));
    await setokim.dispose();
    await expect(waiting).rejects.toMatchObject({ code: "disposed" });
    await vi.waitFor(() => expect(FakeWorker.all.every(({ terminated }) => terminated)).toBe(true));
  });
});

describe("in the page", () => {
  it("stays failed: a thread has one WebAssembly instance and one GPU device", async () => {
    const setokim = await load({ worker: false });
    await expect(setokim.tokenize(trap)).rejects.toMatchObject({ code: "crashed" });
    await expect(setokim.tokenize(picture)).rejects.toMatchObject({ code: "crashed" });
    expect(recoveries).toEqual([]);
    await setokim.dispose();
  });
});

it("a worker that may not take a lock says hello all the same", async () => {
  vi.stubGlobal("navigator", { locks: { request: () => Promise.reject(new DOMException("no", "SecurityError")) } });
  const posted: unknown[] = [];
  const port = { postMessage: (message: unknown) => void posted.push(message), addEventListener: () => undefined };
  serve(port, new RemoteHost(new FakeWorker()));
  await vi.waitFor(() => expect(posted).toEqual([{ type: "hello", lock: undefined }]));
});
