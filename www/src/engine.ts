/** The one place that talks to the library: loads the model, runs what the page asks for, turns failures into notices. */

import {
  type Answer,
  type AnswerEvent,
  type Answering,
  type DeviceChoice,
  type DeviceReport,
  type Message,
  Setokim,
  SetokimError,
} from "setokim";
import { count } from "./format.ts";
import { type History, stepped, withImage } from "./history.ts";
import { openImageFromBlob } from "./image.ts";
import { describeWeights } from "./precision.ts";
import type { Notice, OpenImage, Store } from "./state.ts";
import type { Turn } from "./turn.ts";

const nameOf = ({ device }: DeviceReport): string => (device === "gpu" ? "GPU" : "CPU");

export class Engine {
  readonly #store: Store;
  readonly #modelUrl: string;
  #setokim: Setokim | undefined;
  #load: AbortController | undefined;
  #run: AbortController | undefined;
  #answering: Answering<AnswerEvent, Answer> | undefined;
  /** Pictures that were opened so far: one that is slow to decode must not replace a later one. */
  #opened = 0;

  constructor(store: Store, modelUrl: string) {
    this.#store = store;
    this.#modelUrl = modelUrl;
  }

  /** Requests that the library saw in its worker since the model was loaded. */
  get requests(): number {
    return this.#setokim?.network.requests ?? 0;
  }

  /** Bytes of WebAssembly memory; undefined while no model is there. */
  get memory(): number | undefined {
    return this.#setokim?.memory.wasm;
  }

  /** Loads a model that this browser keeps; of another one says first what it is. */
  async start(choice: DeviceChoice): Promise<void> {
    const address = new URL(this.#modelUrl, document.baseURI).href;
    const stored = await Setokim.cache.list();
    if (stored.some(({ url }) => url === address)) return this.load(choice);
    this.#store.set({ choice, status: { kind: "waiting" } });
    try {
      const probe = await Setokim.probe({ model: address });
      this.#store.set({ probe });
    } catch (error) {
      if (this.#store.state.status.kind !== "waiting") return;
      this.#store.set({ status: { kind: "failed" }, notice: this.#notice(error, true) });
    }
  }

  /** Loads the model on a device, in place of the one that is there; then runs it on the picture that is shown. */
  async load(choice: DeviceChoice): Promise<void> {
    this.#load?.abort();
    this.#run?.abort();
    this.#answering?.abort();
    const load = (this.#load = new AbortController());
    const before = this.#setokim;
    this.#setokim = undefined;
    this.#store.set({
      choice,
      status: { kind: "loading", progress: undefined },
      device: undefined,
      weights: undefined,
      notice: undefined,
    });
    await before?.dispose();
    const start = performance.now();
    let cached = false;
    try {
      const setokim = await Setokim.load(this.#modelUrl, {
        device: choice,
        dtype: this.#store.state.dtype,
        signal: load.signal,
        onProgress: (progress) => {
          cached ||= progress.cached === true;
          if (load === this.#load) this.#store.set({ status: { kind: "loading", progress } });
        },
        onRecovery: ({ device }) => {
          if (load !== this.#load) return;
          const weights = this.#setokim?.weights;
          this.#store.set({ device, weights, announcement: `Started again on the ${nameOf(device)}.` });
        },
      });
      this.#setokim = setokim;
      this.#store.set({
        status: { kind: "ready" },
        device: setokim.device,
        weights: setokim.weights,
        model: setokim.model,
        tasks: setokim.tasks,
        loadTime: performance.now() - start,
        fromCache: cached,
        announcement: `The model is ready on the ${nameOf(setokim.device)}, its weights ${describeWeights(setokim.weights)}.`,
      });
      await this.tokenize();
    } catch (error) {
      if (load.signal.aborted) return;
      this.#store.set({ status: { kind: "failed" }, notice: this.#notice(error, true) });
    }
  }

  /** Goes back to before the download; what of it is whole is kept. */
  stopLoading(): void {
    this.#load?.abort();
    this.#store.set({ status: { kind: "waiting" }, announcement: "Stopped." });
  }

  /**
   * Shows a picture and finds its tokens. A file that cannot be read leaves everything as it was, with a notice that
   * says why; the engine is asked even then, since its words are better than the browser's.
   */
  async open(blob: Blob, name: string, sample: boolean): Promise<void> {
    this.#opened += 1;
    const turn = this.#opened;
    if (this.#setokim !== undefined) this.#store.set({ status: { kind: "working" } });
    const image = await openImageFromBlob(blob, name, sample);
    if (turn !== this.#opened) return;
    if (image !== undefined) return this.show(image);
    try {
      if (this.#setokim === undefined) throw new SetokimError("image-decode", "the picture cannot be read");
      await this.#setokim.tokenize(blob);
      throw new SetokimError("image-decode", "the browser cannot show this picture");
    } catch (error) {
      if (turn !== this.#opened) return;
      const { status } = this.#store.state;
      this.#store.set({
        notice: { ...this.#notice(error), subject: name },
        status: status.kind === "working" ? { kind: "ready" } : status,
      });
    }
  }

  /** Shows a picture that can be seen, and finds its tokens. */
  show(image: OpenImage): Promise<void> {
    return this.#showAt(withImage(this.#store.state.history, image));
  }

  /** Undoes (-1) or redoes (1) a change of the picture, if there is one. */
  async step(step: -1 | 1): Promise<void> {
    const history = stepped(this.#store.state.history, step);
    if (history !== undefined) await this.#showAt(history);
  }

  async #showAt(history: History): Promise<void> {
    this.#opened += 1;
    this.#store.set({
      history,
      image: history.images[history.at],
      tokens: undefined,
      reconstruction: undefined,
      hovered: undefined,
      pinned: undefined,
      maskOverlays: [],
      notice: undefined,
    });
    await this.tokenize();
  }

  /** Gives the prompt of a turn to the model; `messages` are the conversation for one that chats. */
  answer({ mode, prompt, image, settings }: Turn, messages: readonly Message[]): Answering<AnswerEvent, Answer> {
    const setokim = this.#setokim;
    if (setokim === undefined) throw new SetokimError("disposed", "the model is not loaded");
    const drawing =
      settings === undefined
        ? {}
        : { seed: settings.seed, diffusion: { guidance: settings.guidance, steps: settings.steps } };
    const ask = (): Answering<AnswerEvent, Answer> => {
      if (mode === "chat") return setokim.chat(messages, drawing);
      if (mode === "generate") return setokim.generate(prompt, drawing);
      if (image === undefined) throw new SetokimError("prompt-invalid", "no picture is open");
      const { source } = image;
      return mode === "segment" ? setokim.segment(source, prompt) : setokim.edit(source, prompt, drawing);
    };
    return (this.#answering = ask());
  }

  /** What stopped an answer, in words. Even after a crash the next request is answered: the library starts anew. */
  failed(error: unknown): Notice {
    return this.#notice(error);
  }

  /** Finds the tokens of the picture that is shown, and renders it again from them when that is in view. */
  async tokenize(): Promise<void> {
    const { image } = this.#store.state;
    const setokim = this.#setokim;
    if (image === undefined || setokim === undefined) return;
    await this.#work(image, async (signal) => {
      const tokens = await setokim.tokenize(image.source, { signal });
      this.#store.set({
        tokens,
        timings: tokens.timingsMs,
        announcement: `${image.name}: ${count(tokens.tokens.length, "token")}.`,
      });
      if (this.#store.state.view === "compare") await this.#reconstruct(setokim, image, signal);
    });
  }

  /** Renders the picture again from its tokens, once. */
  async reconstruct(): Promise<void> {
    const { image, reconstruction } = this.#store.state;
    const setokim = this.#setokim;
    if (image === undefined || setokim === undefined || reconstruction !== undefined) return;
    await this.#work(image, (signal) => this.#reconstruct(setokim, image, signal));
  }

  async #reconstruct(setokim: Setokim, image: OpenImage, signal: AbortSignal): Promise<void> {
    const reconstruction = await setokim.reconstruct(image.source, { signal });
    this.#store.set({ reconstruction, timings: reconstruction.tokens.timingsMs });
  }

  /** One run at a time, and the last one counts. */
  async #work(image: OpenImage, task: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.#run?.abort();
    const run = (this.#run = new AbortController());
    this.#store.set({ status: { kind: "working" }, notice: undefined });
    try {
      await task(run.signal);
      if (run === this.#run) this.#store.set({ status: { kind: "ready" } });
    } catch (error) {
      if (run.signal.aborted || run !== this.#run) return;
      this.#store.set({ status: { kind: "ready" }, notice: { ...this.#notice(error), subject: image.name } });
    }
  }

  #notice(thrown: unknown, reload = false): Notice {
    const error =
      thrown instanceof SetokimError ? thrown : new SetokimError("internal", String(thrown), { cause: thrown });
    const { message, remedy, code } = error;
    if (!reload) return { message, remedy, code };
    const { choice, device, dtype } = this.#store.state;
    // What fails on the GPU may well run without it.
    const onGpu = device === undefined ? choice !== "cpu" : device.device === "gpu";
    const gpuFault = onGpu && ["device-unavailable", "device-lost", "crashed"].includes(code);
    const fallback: DeviceChoice = gpuFault ? "cpu" : choice;
    // And what is too large, or cannot be packed, may well be held as it is stored.
    const precisionFault =
      !gpuFault && dtype !== "stored" && ["out-of-memory", "crashed", "tensor-type"].includes(code);
    const label = precisionFault ? "Load as stored" : fallback === choice ? "Load again" : "Use the CPU";
    const run = (): void => {
      if (precisionFault) this.#store.set({ dtype: "stored" });
      void this.load(fallback);
    };
    return { message, remedy, code, action: { label, run } };
  }
}
