/** What unit tests of the whole package stand on: a server with a model, workers, and the engine that was loaded last. */

import { afterEach, beforeEach, vi } from "vitest";
import { FakeServer, someBytes } from "./fake-server.ts";
import { FakeAbort, type FakeEngine, loaders, machine } from "./fake-wasm.ts";
import { FakeImageData, FakeWorker } from "./fake-worker.ts";

/** Where the server has its model. */
export const url = "https://example.org/models/fake/";

/** For the tests of a file: before each, a browser in which nothing has happened; afterwards everything is put back. */
export function useFakeBrowser(shards: Record<string, Uint8Array> = { "a.safetensors": someBytes(100, 1) }): {
  server: FakeServer;
  engine(): FakeEngine;
} {
  const server = new FakeServer();
  beforeEach(() => {
    server.reset();
    server.addModel(shards);
    vi.stubGlobal("fetch", server.fetch);
    vi.stubGlobal("Worker", FakeWorker);
    vi.stubGlobal("ImageData", FakeImageData);
    loaders.length = 0;
    FakeWorker.all.length = 0;
    FakeAbort.alive = 0;
    machine.gpu = false;
  });
  afterEach(() => {
    for (const worker of FakeWorker.all) worker.terminate();
    vi.unstubAllGlobals();
  });
  return {
    server,
    engine: () => {
      const last = loaders.at(-1);
      if (last === undefined) throw new Error("nothing was loaded");
      return last.engine;
    },
  };
}
