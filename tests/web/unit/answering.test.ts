import { describe, expect, it } from "vitest";
import { Answering } from "../../../pkg/src/answering.ts";
import { abortedError } from "../../../pkg/src/errors.ts";

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
    await new Promise((resolve) => setTimeout(resolve, 10));
    process.off("unhandledRejection", note);
    expect(unhandled).toEqual([]);
  });
});
