/** What a browser has and Node has not, for unit tests. */

import { MessageChannel } from "node:worker_threads";
import { LocalHost } from "../../pkg/src/local.ts";
import type { Reply, Request } from "../../pkg/src/protocol.ts";
import { type ServerPort, serve } from "../../pkg/src/server.ts";
import { fakeWasm } from "./fake-wasm.ts";

/** A worker in this thread: messages are cloned and transferred as between real ones. */
export class FakeWorker {
  static readonly all: FakeWorker[] = [];
  terminated = false;
  readonly #listeners: { type: string; run: (event: never) => void }[] = [];
  readonly #page;
  readonly #worker;

  constructor() {
    FakeWorker.all.push(this);
    const { port1, port2 } = new MessageChannel();
    this.#page = port1;
    this.#worker = port2;
    port1.on("message", (data: Reply) => this.dispatch("message", { data }));
    const scope: ServerPort = {
      postMessage: (message, transfer) => port2.postMessage(message, transfer as never),
      addEventListener: (_, listener) =>
        void port2.on("message", (data: Request) => listener({ data } as MessageEvent<Request>)),
    };
    queueMicrotask(() => serve(scope, new LocalHost(async () => fakeWasm)));
  }

  postMessage(message: Request, transfer: Transferable[]): void {
    if (!this.terminated) this.#page.postMessage(message, transfer as never);
  }

  addEventListener(type: string, run: (event: never) => void): void {
    this.#listeners.push({ type, run });
  }

  dispatch(type: string, event: object): void {
    for (const listener of this.#listeners) if (listener.type === type) listener.run(event as never);
  }

  terminate(): void {
    this.terminated = true;
    this.#page.close();
    this.#worker.close();
  }
}

export class FakeImageData {
  readonly [Symbol.toStringTag] = "ImageData";
  readonly data: Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
  constructor(data: Uint8ClampedArray, width: number, height: number) {
    [this.data, this.width, this.height] = [data, width, height];
  }
}
