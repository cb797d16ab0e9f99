/** A server for unit tests: files in memory, every answer scripted, every request noted. */

import { sha256 } from "./fake-wasm.ts";

export interface ServedRequest {
  name: string;
  range: string | undefined;
  /** The query of its address. */
  search: string;
  /** What `Authorization` said. */
  authorization: string | null;
  cache: string | undefined;
}

/** What happens to one request instead of a plain answer. */
export type Fault =
  | { kind: "offline" }
  | { kind: "status"; status: number }
  /** Sends this many bytes and breaks the connection; of other bytes, or of the whole file to a Range request. */
  | { kind: "cut"; after: number; spoilt?: boolean; whole?: boolean }
  /** Sends this many bytes, and then nothing, without breaking the connection. */
  | { kind: "stall"; after: number }
  /** Announces another length than it has. */
  | { kind: "claims"; length: number }
  /** Answers a Range request with the whole file. */
  | { kind: "no-range" }
  | { kind: "spoilt" }
  /** Never answers, until the request is aborted. */
  | { kind: "hang" };

export class FakeServer {
  readonly files = new Map<string, Uint8Array>();
  readonly requests: ServedRequest[] = [];
  readonly #faults = new Map<string, Fault[]>();
  /** Requests that are being answered, and the most there ever were. */
  active = 0;
  mostActive = 0;

  /** As if nothing had been asked of it, and without files. */
  reset(): void {
    this.files.clear();
    this.requests.length = 0;
    this.#faults.clear();
    this.active = 0;
    this.mostActive = 0;
  }

  /** The next requests for this file meet these, one each. */
  fail(name: string, ...faults: Fault[]): void {
    this.#faults.set(name, [...(this.#faults.get(name) ?? []), ...faults]);
  }

  /** A model of shards with these contents. */
  addModel(shards: Record<string, Uint8Array>): void {
    const files = Object.entries(shards).map(([name, bytes]) => {
      this.files.set(name, bytes);
      return { name, bytes: bytes.byteLength, sha256: sha256(bytes) };
    });
    this.files.set("config.json", new TextEncoder().encode('{"name":"fake"}'));
    this.files.set("manifest.json", new TextEncoder().encode(JSON.stringify({ files })));
  }

  readonly fetch = async (input: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
    const { pathname, search } = new URL(String(input));
    const name = pathname.split("/").pop() ?? "";
    const headers = new Headers(init.headers);
    const range = headers.get("range") ?? undefined;
    this.requests.push({ name, range, search, authorization: headers.get("authorization"), cache: init.cache });
    const fault = this.#faults.get(name)?.shift();
    if (fault?.kind === "offline") throw new TypeError("Failed to fetch");
    if (fault?.kind === "status") return new Response("", { status: fault.status });
    const { signal } = init;
    if (signal?.aborted === true) throw signal.reason;
    if (fault?.kind === "hang") {
      this.active += 1;
      return new Promise((_, reject) =>
        signal?.addEventListener("abort", () => {
          this.active -= 1;
          reject(signal.reason);
        }),
      );
    }
    let bytes = this.files.get(name);
    if (bytes === undefined) return new Response("", { status: 404 });
    if (fault?.kind === "spoilt" || (fault?.kind === "cut" && fault.spoilt === true))
      bytes = bytes.map((byte) => byte ^ 1);
    const whole = fault?.kind === "no-range" || (fault?.kind === "cut" && fault.whole === true);
    const start = range === undefined || whole ? 0 : Number(/(\d+)-/.exec(range)?.[1]);
    if (start >= bytes.byteLength && start > 0) return new Response("", { status: 416 });
    this.active += 1;
    this.mostActive = Math.max(this.mostActive, this.active);
    const end = fault?.kind === "cut" || fault?.kind === "stall" ? start + fault.after : bytes.byteLength;
    const chunks = chunksOf(bytes.subarray(start, end), Math.max(7, bytes.byteLength >> 6));
    let ended = false;
    const endWith = (close: () => void): void => {
      if (ended) return;
      ended = true;
      this.active -= 1;
      close();
    };
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => signal?.addEventListener("abort", () => endWith(() => controller.error(signal.reason))),
      pull: async (controller) => {
        await new Promise((resolve) => setTimeout(resolve, 0));
        if (ended) return;
        const chunk = chunks.shift();
        if (chunk !== undefined) controller.enqueue(chunk);
        else if (fault?.kind === "stall") await new Promise(() => undefined);
        else if (fault?.kind === "cut") endWith(() => controller.error(new TypeError("network error")));
        else endWith(() => controller.close());
      },
      cancel: () => endWith(() => undefined),
    });
    const claimed = fault?.kind === "claims" ? fault.length : bytes.byteLength - start;
    return new Response(body, {
      status: start > 0 ? 206 : 200,
      headers: {
        "Content-Length": String(claimed),
        ...(start > 0 ? { "Content-Range": `bytes ${start}-${bytes.byteLength - 1}/${bytes.byteLength}` } : {}),
      },
    });
  };
}

function chunksOf(bytes: Uint8Array, size: number): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < bytes.byteLength; at += size) chunks.push(bytes.slice(at, at + size));
  return chunks;
}

/** Bytes that differ from seed to seed. */
export function someBytes(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 31 + seed * 17) & 255);
}
