import { describe, expect, it } from "vitest";
import { SetokimError } from "../../../pkg/src/errors.ts";
import { SerialQueue } from "../../../pkg/src/queue.ts";

function gate(): { open: () => void; wait: Promise<void> } {
  let open = (): void => undefined;
  const wait = new Promise<void>((resolve) => (open = resolve));
  return { open, wait };
}

describe("SerialQueue", () => {
  it("runs one at a time, in order, and goes on after a failure", async () => {
    const queue = new SerialQueue();
    const log: string[] = [];
    const task =
      (name: string, fails = false) =>
      async (): Promise<string> => {
        log.push(`+${name}`);
        await new Promise((resolve) => setTimeout(resolve, 1));
        log.push(`-${name}`);
        if (fails) throw new Error(name);
        return name;
      };
    const answers = await Promise.allSettled([queue.run(task("a")), queue.run(task("b", true)), queue.run(task("c"))]);
    expect(answers.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(log).toEqual(["+a", "-a", "+b", "-b", "+c", "-c"]);
  });

  it("does not start what is aborted while it waits", async () => {
    const queue = new SerialQueue();
    const { open, wait } = gate();
    const first = queue.run(() => wait);
    const abort = new AbortController();
    let ran = false;
    const second = queue.run(async () => void (ran = true), abort.signal);
    abort.abort("changed my mind");
    await expect(second).rejects.toMatchObject({ code: "aborted", cause: "changed my mind" });
    open();
    await first;
    await queue.idle();
    expect(ran).toBe(false);
  });

  it("drops the answer of what is aborted while it runs, and the next waits for it", async () => {
    const queue = new SerialQueue();
    const { open, wait } = gate();
    const abort = new AbortController();
    const log: string[] = [];
    const first = queue.run(async () => {
      await wait;
      log.push("first ended");
    }, abort.signal);
    const second = queue.run(async () => void log.push("second began"));
    await Promise.resolve();
    abort.abort();
    await expect(first).rejects.toMatchObject({ code: "aborted" });
    expect(log).toEqual([]);
    open();
    await second;
    expect(log).toEqual(["first ended", "second began"]);
  });

  it("refuses a signal that is already aborted", async () => {
    await expect(new SerialQueue().run(async () => 1, AbortSignal.abort())).rejects.toMatchObject({ code: "aborted" });
  });

  it("rejects everything when it is closed", async () => {
    const queue = new SerialQueue();
    const first = queue.run(() => new Promise(() => undefined));
    const second = queue.run(async () => 2);
    queue.close(new SetokimError("disposed", "gone"));
    await expect(first).rejects.toMatchObject({ code: "disposed" });
    await expect(second).rejects.toMatchObject({ code: "disposed" });
    await expect(queue.run(async () => 3)).rejects.toMatchObject({ code: "disposed" });
  });
});
