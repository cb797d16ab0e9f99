import { describe, expect, it } from "vitest";
import { Answering } from "../../../pkg/src/answering.ts";
import { abortedError, SetokimError } from "../../../pkg/src/errors.ts";

/** Emits 1, 2, 3, one a turn of the event loop; the result is their sum. */
async function count(emit: (event: number) => void, signal: AbortSignal): Promise<number> {
  for (const event of [1, 2, 3]) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (signal.aborted) throw abortedError(signal);
    emit(event);
  }
  return 6;
}

async function all<T>(events: AsyncIterable<T>): Promise<T[]> {
  const seen: T[] = [];
  for await (const event of events) seen.push(event);
  return seen;
}

describe("Answering", () => {
  it("is awaited, iterated over, or both", async () => {
    expect(await new Answering(count)).toBe(6);
    const answering = new Answering(count);
    expect(await all(answering)).toEqual([1, 2, 3]);
    expect(await answering).toBe(6);
    expect(await all(answering)).toEqual([1, 2, 3]); // late, and nothing missed
    expect(await Promise.all([answering, all(answering), answering.finally()])).toEqual([6, [1, 2, 3], 6]);
  });

  it("is aborted by leaving the loop", async () => {
    const answering = new Answering(count);
    for await (const event of answering) if (event === 2) break;
    await expect(answering).rejects.toMatchObject({ code: "aborted" });
    expect(await answering.catch(() => "caught")).toBe("caught");
  });

  it("is aborted by the caller's signal, before and during", async () => {
    await expect(new Answering(count, AbortSignal.abort())).rejects.toMatchObject({ code: "aborted" });
    const abort = new AbortController();
    const answering = new Answering(count, abort.signal);
    const seen: number[] = [];
    const loop = (async () => {
      for await (const event of answering) {
        seen.push(event);
        abort.abort("enough");
      }
    })();
    await expect(loop).rejects.toMatchObject({ code: "aborted", cause: "enough" });
    expect(seen).toEqual([1]);
  });

  it("is a stream: every event, then the end; for loops and pipes too", async () => {
    const answering = new Answering(count);
    expect(await all(answering.stream())).toEqual([1, 2, 3]);
    expect(await all(answering.stream())).toEqual([1, 2, 3]); // late, and nothing missed
    const doubled = new TransformStream<number, number>({ transform: (event, out) => out.enqueue(2 * event) });
    expect(await all(new Answering(count).stream().pipeThrough(doubled))).toEqual([2, 4, 6]);
  });

  it("is aborted by cancelling its stream, while it is read and before", async () => {
    for (const events of [0, 1]) {
      const answering = new Answering(count);
      const reader = answering.stream().getReader();
      for (let read = 0; read < events; read += 1)
        expect(await reader.read()).toEqual({ done: false, value: read + 1 });
      await reader.cancel("enough");
      await expect(answering).rejects.toMatchObject({ code: "aborted", cause: "enough" });
      expect(await reader.read()).toEqual({ done: true, value: undefined });
    }
    const left = new Answering(count);
    for await (const event of left.stream()) if (event === 2) break;
    await expect(left).rejects.toMatchObject({ code: "aborted" });
  });

  it("is aborted at once when a stream is cancelled that waits for its next event", async () => {
    const answering = new Answering<number, void>(
      (_, signal) =>
        new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(abortedError(signal)))),
    );
    const reader = answering.stream().getReader();
    const waiting = reader.read();
    await reader.cancel();
    expect(await waiting).toEqual({ done: true, value: undefined });
    await expect(answering).rejects.toMatchObject({ code: "aborted" });
  });

  it("is not held up by a stream that nobody reads, and keeps its events for whoever reads late", async () => {
    const answering = new Answering(count);
    const reader = answering.stream().getReader();
    expect(await answering).toBe(6);
    expect(await reader.read()).toEqual({ done: false, value: 1 });
    await new Promise((resolve) => setTimeout(resolve, 5));
    reader.releaseLock();
    expect(await all(answering)).toEqual([1, 2, 3]);
  });

  it("fails its stream with what it fails with, after what came before", async () => {
    const answering = new Answering<string, void>(async (emit) => {
      emit("first");
      throw new SetokimError("device-lost", "the GPU device was lost");
    });
    const reader = answering.stream().getReader();
    expect(await reader.read()).toEqual({ done: false, value: "first" });
    await expect(reader.read()).rejects.toMatchObject({ code: "device-lost" });
    await expect(reader.closed).rejects.toMatchObject({ code: "device-lost" });
  });

  it("hears nothing of an abort after the end", async () => {
    const answering = new Answering(count);
    await answering;
    answering.abort();
    expect(await answering).toBe(6);
  });

  it("shows what came before a failure, then the failure", async () => {
    const answering = new Answering<string, void>(async (emit) => {
      emit("first");
      throw new Error("broken");
    });
    const seen: string[] = [];
    const loop = (async () => {
      for await (const event of answering) seen.push(event);
    })();
    await expect(loop).rejects.toThrow("broken");
    expect(seen).toEqual(["first"]);
  });

  it("leaves no unhandled rejection behind", async () => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown): void => void unhandled.push(reason);
    process.on("unhandledRejection", note);
    void new Answering(() => Promise.reject(new Error("nobody listens")));
    for await (const event of new Answering(count)) if (event === 1) break;
    const reader = new Answering(count).stream().getReader();
    void reader.read();
    void reader.cancel();
    await new Promise((resolve) => setTimeout(resolve, 10));
    process.off("unhandledRejection", note);
    expect(unhandled).toEqual([]);
  });
});
