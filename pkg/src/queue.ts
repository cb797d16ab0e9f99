import { abortedError, type SetokimError } from "./errors.js";

/** Runs tasks one after the other, in the order in which they were asked for. */
export class SerialQueue {
  #tail: Promise<unknown> = Promise.resolve();
  #closed: SetokimError | undefined;
  readonly #waiting = new Set<(error: SetokimError) => void>();

  /**
   * The answer of `task`, once those before it have ended. Aborting a waiting task takes it out of the queue; aborting
   * a running one rejects at once, and the next still waits for it, since the engine does one thing at a time.
   */
  run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    if (signal?.aborted === true) return Promise.reject(abortedError(signal));
    return new Promise<T>((resolve, reject) => {
      let settled = false;
      const fail = (error: unknown): void => {
        settled = true;
        this.#waiting.delete(fail);
        signal?.removeEventListener("abort", onAbort);
        reject(error);
      };
      const onAbort = (): void => {
        if (signal !== undefined) fail(abortedError(signal));
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiting.add(fail);
      this.#tail = this.#tail.then(async () => {
        if (settled) return;
        try {
          const value = await task();
          this.#waiting.delete(fail);
          signal?.removeEventListener("abort", onAbort);
          resolve(value);
        } catch (error) {
          fail(error);
        }
      });
    });
  }

  /** Rejects everything that waits or runs, and whatever is asked later. */
  close(error: SetokimError): void {
    this.#closed ??= error;
    for (const fail of [...this.#waiting]) fail(this.#closed);
  }

  /** Settles when the running task has ended. */
  idle(): Promise<void> {
    return this.#tail.then(() => undefined);
  }
}
