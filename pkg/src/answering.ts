/** Makes an answer: emits each event as it happens, and stops when the signal says so. */
export type AnswerMaker<Event, Result> = (emit: (event: Event) => void, signal: AbortSignal) => Promise<Result>;

/**
 * An answer on its way: await it for the whole, iterate over what happens, or have that as a stream.
 *
 * ```ts
 * const { text } = await setokim.chat(messages);
 * for await (const event of setokim.chat(messages)) if (event.type === "text") show(event.text);
 * setokim.chat(messages).stream().pipeTo(sink);
 * ```
 *
 * All may be done with the same answer, and a loop or stream that begins late misses nothing. Leaving a loop early or
 * cancelling a stream aborts. An answer that nobody awaits or reads fails in silence.
 */
export class Answering<Event, Result> implements AsyncIterable<Event, void>, Promise<Result> {
  readonly [Symbol.toStringTag] = "Answering";
  readonly #stop = new AbortController();
  readonly #result: Promise<Result>;
  readonly #events: Event[] = [];
  #ended = false;
  /** Loops that have shown everything there is, and wait for more. */
  #waiting: (() => void)[] = [];

  /** `signal` is the caller's: it aborts as {@link abort} does. */
  constructor(make: AnswerMaker<Event, Result>, signal?: AbortSignal) {
    const onAbort = (): void => this.abort(signal?.reason);
    if (signal?.aborted === true) onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#result = make((event) => this.#emit(event), this.#stop.signal).finally(() => {
      signal?.removeEventListener("abort", onAbort);
      this.#ended = true;
      this.#wake();
    });
    // A loop that was left has nobody who would hear of the abort.
    this.#result.catch(() => undefined);
  }

  /** Stops before the next token; the promise and all loops reject with `aborted`. Does nothing after the end. */
  abort(reason?: unknown): void {
    if (!this.#ended) this.#stop.abort(reason);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Event, void> {
    try {
      for (let next = 0; ; next += 1) {
        while (next >= this.#events.length && !this.#ended) {
          await new Promise<void>((resolve) => this.#waiting.push(resolve));
        }
        const event = this.#events[next];
        if (event === undefined) break;
        yield event;
      }
      await this.#result;
    } finally {
      this.abort();
    }
  }

  /**
   * The events as a stream. It is pulled: what nobody reads waits in memory, and the model goes on. Cancelling it aborts, and
   * what the promise rejects with is what the stream fails with.
   */
  stream(): ReadableStream<Event> {
    return streamOf(this[Symbol.asyncIterator](), (reason) => this.abort(reason));
  }

  // biome-ignore lint/suspicious/noThenProperty: an answer can be awaited
  then<A = Result, B = never>(
    onFulfilled?: ((result: Result) => A | PromiseLike<A>) | null,
    onRejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#result.then(onFulfilled, onRejected);
  }

  catch<B = never>(onRejected?: ((error: unknown) => B | PromiseLike<B>) | null): Promise<Result | B> {
    return this.#result.catch(onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<Result> {
    return this.#result.finally(onFinally);
  }

  #emit(event: Event): void {
    if (this.#ended || this.#stop.signal.aborted) return; // what was on its way when it was aborted
    this.#events.push(event);
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resume of waiting) resume();
  }
}

/** What an iterator gives, one value for each that is asked for. `abort` stops what makes the values: `return` would wait. */
export function streamOf<T>(values: AsyncIterator<T, void>, abort: (reason: unknown) => void): ReadableStream<T> {
  return new ReadableStream<T>(
    {
      async pull(controller) {
        const next = await values.next();
        if (next.done === true) controller.close();
        else controller.enqueue(next.value);
      },
      cancel: abort,
    },
    { highWaterMark: 0 },
  );
}
