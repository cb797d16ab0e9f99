/** Counts what this page asks of the network, so that "nothing leaves this machine" can be seen and not only read. */

export class NetworkCounter {
  readonly #urls: string[] = [];
  readonly #listener: (urls: readonly string[]) => void;
  #counting = false;

  constructor(listener: (urls: readonly string[]) => void) {
    this.#listener = listener;
    new PerformanceObserver((list) => {
      if (!this.#counting) return;
      const urls = list
        .getEntries()
        .map((entry) => entry.name)
        .filter((name) => name.startsWith("http"));
      if (urls.length === 0) return;
      this.#urls.push(...urls);
      this.#listener(this.#urls);
    }).observe({ type: "resource" });
  }

  /** From now on, or no longer (while a model is loaded on request). */
  count(on: boolean): void {
    if (on && !this.#counting) this.#urls.length = 0;
    this.#counting = on;
    this.#listener(this.#urls);
  }

  get requests(): number {
    return this.#urls.length;
  }
}
