import { absolute, folderAddress, modelSource } from "./addresses.js";
import { withoutAliases } from "./aliases.js";
import { Answering } from "./answering.js";
import { answerFrom, eventFrom, wasmMessages, wasmOptions, withImages } from "./answers.js";
import { type CachedModel, openCache } from "./cache.js";
import { abortedError, asSetokimError, isFatal, SetokimError, throwIfAborted } from "./errors.js";
import type { Host, LoadReply, LoadRequest, Question } from "./host.js";
import { imageData, imageFrom, type RequestImage } from "./image.js";
import { openHost } from "./open-host.js";
import { checkAnswerOptions, checkOptions, isSignal, loadKinds, probeKinds, requestKinds } from "./options.js";
import { downloadSize, probeReport } from "./probe.js";
import { SerialQueue } from "./queue.js";
import type {
  Answer,
  AnswerEvent,
  ChatEvent,
  ChatOptions,
  DescribeEvent,
  DescribeOptions,
  EditAnswer,
  EditEvent,
  EditOptions,
  GenerateAnswer,
  GenerateEvent,
  GenerateOptions,
  Message,
  SegmentAnswer,
  SegmentEvent,
  SegmentOptions,
  Task,
} from "./tasks.js";
import type {
  DeviceReport,
  ImageInput,
  LoadOptions,
  MemoryReport,
  ModelInfo,
  ModelSource,
  NetworkReport,
  ProbeOptions,
  ProbeReport,
  Reconstruction,
  RequestOptions,
  SetokimApi,
  Tokenization,
  WeightTypes,
} from "./types.js";
import { UrlSource } from "./weights.js";

/** What `Setokim.probe` last found out: the kernels are tested once for a page, and not by each worker. */
let earlierProbe: DeviceReport | undefined;

/** After so many failures in a row the GPU is given up. */
const MAX_FAILURES = 2;
const GPU_FAILS = `the GPU failed ${MAX_FAILURES} times in a row`;

/**
 * A loaded model. Requests run one after the other in the order in which they were made.
 *
 * ```ts
 * const setokim = await Setokim.load("/models/setokim-tiny/");
 * const { tokens, labels } = await setokim.tokenize(file);
 * const { text } = await setokim.chat([{ role: "user", content: [{ type: "image", image: file }, { type: "text", text: "what is this?" }] }]);
 * await setokim.dispose();
 * ```
 */
export class Setokim implements SetokimApi {
  /** The models in this browser's storage. */
  static readonly cache = {
    async list(): Promise<CachedModel[]> {
      return (await (await openCache())?.list()) ?? [];
    },
    /** Forgets the model that was loaded from this address, or all of them. */
    async delete(url?: string | URL): Promise<void> {
      await (await openCache())?.delete(url === undefined ? undefined : absolute(url));
    },
  };

  /**
   * Which device `auto` would take and why, and whether a model fits, before any weights are downloaded. Never rejects for
   * want of a GPU; with a `model`, rejects with `network` or `manifest-invalid` when that is not there.
   */
  static async probe(options: ProbeOptions = {}): Promise<ProbeReport> {
    checkOptions(options, probeKinds);
    const { signal, model } = options;
    throwIfAborted(signal);
    const host = openHost(options);
    try {
      const [device, manifest] = await withSignal(
        Promise.all([
          host.probe(options.wasmUrl === undefined ? undefined : absolute(options.wasmUrl)),
          model === undefined ? undefined : manifestOf(model, options),
        ]),
        signal,
      );
      earlierProbe = device;
      return probeReport(device, manifest === undefined ? null : downloadSize(manifest), machineMemory());
    } finally {
      await host.dispose();
    }
  }

  /**
   * Downloads (or takes from storage), checks and starts a model: a folder's address, or the files of that folder.
   *
   * ```ts
   * const setokim = await Setokim.load("/models/setokim-tiny/", { dtype: "q4_0" }); // less memory, the same download
   * ```
   *
   * Rejects with `network`, the codes of models, `setting-invalid` for a device or type that there is not,
   * `device-unavailable`, `out-of-memory`, `browser-unsupported`, `worker-unavailable` and `aborted`.
   */
  static async load(source: ModelSource, options: LoadOptions = {}): Promise<Setokim> {
    checkOptions(options, loadKinds);
    const { device = "auto", dtype = "stored", cache = true, warmUp, signal, onProgress } = withoutAliases(options);
    throwIfAborted(signal);
    const request: LoadRequest = {
      source: modelSource(source),
      device,
      dtype,
      cache,
      warmUp,
      asked: String(source),
      headers: options.headers,
      fetch: options.fetch,
      earlierProbe,
      wasmUrl: options.wasmUrl === undefined ? undefined : absolute(options.wasmUrl),
    };
    // From here to the host's own look at the signal nothing waits: an abort in between would be heard by nobody.
    const host = openHost(options);
    try {
      const reply = await withSignal(host.load(request, onProgress, signal), signal);
      return new Setokim(host, reply, request, options);
    } catch (error) {
      void host.dispose();
      throw asSetokimError(error);
    }
  }

  readonly model: ModelInfo;
  /** What this model can do: `chat` and the rest only with a language model. */
  readonly tasks: readonly Task[];
  readonly #request: LoadRequest;
  readonly #options: LoadOptions;
  readonly #queue = new SerialQueue();
  #host: Host;
  #device: DeviceReport;
  #weights: WeightTypes;
  /** Requests that an engine failed under since one was last answered. */
  #failures = 0;
  #gpuFails = false;
  #fetched = 0;
  /** Stops a recovery when the model is given back. */
  readonly #end = new AbortController();
  #disposed: Promise<void> | undefined;

  private constructor(host: Host, reply: LoadReply, request: LoadRequest, options: LoadOptions) {
    this.#host = host;
    this.#device = reply.device;
    this.#weights = reply.weights;
    this.model = reply.model;
    this.tasks = reply.tasks;
    this.#request = request;
    this.#options = options;
  }

  /** What runs the model, and why; another one after a recovery on the CPU. */
  get device(): DeviceReport {
    return this.#device;
  }

  /** The types of the weights in the model's files and in memory, and the bytes that they take there. */
  get weights(): WeightTypes {
    return this.#weights;
  }

  /** The semantic tokens of a picture: how many there are is decided by the picture. */
  async tokenize(image: ImageInput, options: RequestOptions = {}): Promise<Tokenization> {
    checkOptions(options, requestKinds);
    const { signal } = options;
    return this.#run(this.#read(image, signal), signal, (host, read) => host.tokenize(read));
  }

  /** The picture rendered again from its tokens alone: what they hold of it. */
  async reconstruct(image: ImageInput, options: RequestOptions = {}): Promise<Reconstruction> {
    checkOptions(options, requestKinds);
    const { signal } = options;
    const { rgba, width, height, tokens } = await this.#run(this.#read(image, signal), signal, (host, read) =>
      host.reconstruct(read),
    );
    return { image: imageData(rgba, width, height), tokens };
  }

  /**
   * Answers the last message of a conversation: with text, masks of the image shown last, or a new image. Turns that
   * the request before had as well are not read again.
   *
   * Rejects with `unsupported` by a model without a language model, `prompt-invalid`, `context-overflow`, `aborted`.
   */
  chat(messages: readonly Message[], options: ChatOptions = {}): Answering<ChatEvent, Answer> {
    return new Answering(async (emit, signal) => {
      checkAnswerOptions(options);
      const turns = withImages(wasmMessages(messages), (image) => this.#read(image, signal));
      const question = turns.then((messages) => ({ task: "chat", messages }) as const);
      return this.#answer(question, options, emit, signal);
    }, signalOf(options));
  }

  /**
   * What is in a picture, in a sentence. Rejects as `chat` does, and with `unsupported` by a model that has not learned it
   * (its config has no `prompts.describe`).
   */
  describe(image: ImageInput, options: DescribeOptions = {}): Answering<DescribeEvent, Answer> {
    const question = async (signal: AbortSignal): Promise<Question> => ({
      task: "describe",
      image: await this.#read(image, signal),
    });
    return this.#ask<DescribeEvent, Answer>(question, options, (answer) => answer);
  }

  /** The mask of what a phrase means in a picture ("the red balloon"), in its pixels. Rejects as `chat` does. */
  segment(image: ImageInput, phrase: string, options: SegmentOptions = {}): Answering<SegmentEvent, SegmentAnswer> {
    const withMask = (answer: Answer): SegmentAnswer => ({ ...answer, mask: answer.masks[0] ?? null });
    const question = async (signal: AbortSignal): Promise<Question> => ({
      task: "segment",
      image: await this.#read(image, signal),
      prompt: phrase,
    });
    return this.#ask<SegmentEvent, SegmentAnswer>(question, options, withMask);
  }

  /** A picture of what the prompt says ("a cat and a red ball on the grass"). Rejects as `chat` does. */
  generate(prompt: string, options: GenerateOptions = {}): Answering<GenerateEvent, GenerateAnswer> {
    const question = async (): Promise<Question> => ({ task: "generate", prompt });
    return this.#ask<GenerateEvent, GenerateAnswer>(question, options, withImage);
  }

  /** The picture changed as an instruction says ("make the balloon blue"), the rest of it kept. Rejects as `chat` does. */
  edit(image: ImageInput, instruction: string, options: EditOptions = {}): Answering<EditEvent, EditAnswer> {
    const question = async (signal: AbortSignal): Promise<Question> => ({
      task: "edit",
      image: await this.#read(image, signal),
      prompt: instruction,
    });
    return this.#ask<EditEvent, EditAnswer>(question, options, withImage);
  }

  /** What the library itself asked of the network since the model was loaded. */
  get network(): NetworkReport {
    return { requests: this.#fetched + this.#host.requests() };
  }

  /** What the model takes of this machine's memory, after the last request. */
  get memory(): MemoryReport {
    return { wasm: this.#host.memory() };
  }

  /** Gives back the device and ends the worker. Requests under way reject with `disposed`. */
  dispose(): Promise<void> {
    this.#disposed ??= (async () => {
      this.#queue.close(new SetokimError("disposed", "the model was given back"));
      this.#end.abort();
      await this.#host.dispose();
    })();
    return this.#disposed;
  }

  /** `await using setokim = await Setokim.load(…)` (a browser without the symbol gets a method that nobody calls). */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #ask<Event extends AnswerEvent, Result>(
    question: (signal: AbortSignal) => Promise<Question>,
    options: EditOptions,
    finish: (answer: Answer) => Result,
  ): Answering<Event, Result> {
    return new Answering<Event, Result>(async (emit, signal) => {
      checkAnswerOptions(options);
      // Which events a task can have is Rust's to keep (the rules of each task).
      const answer = await this.#answer(question(signal), options, (event) => emit(event as Event), signal);
      return finish(answer);
    }, signalOf(options));
  }

  async #answer(
    question: Promise<Question>,
    options: EditOptions,
    emit: (event: AnswerEvent) => void,
    signal: AbortSignal,
  ): Promise<Answer> {
    const answer = await this.#run(question, signal, (host, question) => {
      const request = { ...question, options: wasmOptions(options) };
      return host.answer(request, (event) => emit(eventFrom(event)), signal);
    });
    return answerFrom(answer);
  }

  /** Begun at once, while other requests run: a canvas may change before its turn comes. */
  #read(image: ImageInput, signal: AbortSignal | undefined): Promise<RequestImage> {
    return imageFrom(image, signal, () => (this.#fetched += 1));
  }

  async #run<Input, T>(
    input: Promise<Input>,
    signal: AbortSignal | undefined,
    work: (host: Host, input: Input) => Promise<T>,
  ): Promise<T> {
    input.catch(() => undefined); // it is awaited in its turn
    if (this.#disposed !== undefined) throw new SetokimError("disposed", "the model was given back");
    try {
      return await this.#queue.run(async () => {
        const read = await input;
        try {
          const host = await this.#liveHost();
          throwIfAborted(signal); // the caller has its answer already, and the engine must not begin
          const answer = await work(host, read);
          this.#failures = 0;
          return answer;
        } catch (thrown) {
          const error = asSetokimError(thrown);
          if (isFatal(error)) this.#failures += 1;
          throw error;
        }
      }, signal);
    } catch (error) {
      throw asSetokimError(error);
    }
  }

  /**
   * The host, built anew if the last one failed: in a fresh worker, from the stored weights. Only one request runs at a
   * time, so only one can find it failed. An engine in this thread stays as it is: neither a trapped WebAssembly instance
   * nor burn's one GPU device can be had a second time in a thread.
   */
  async #liveHost(): Promise<Host> {
    const error = this.#host.failure;
    if (error === undefined) return this.#host;
    if (this.#options.worker === false) throw error;
    if (this.#failures >= MAX_FAILURES) this.#gpuFails ||= this.#device.device === "gpu";
    const { signal } = this.#end;
    const request = { ...this.#request, storedFirst: true, ...(this.#gpuFails ? { device: "cpu" as const } : {}) };
    const reopen = async () => {
      const host = openHost(this.#options);
      try {
        return { host, ...(await withSignal(host.load(request, undefined, signal), signal)) };
      } catch (failed) {
        void host.dispose(); // another one is opened for the next try
        throw failed;
      }
    };
    const { host, device, weights } = await afterRestart(reopen, signal);
    const { adapter } = this.#device;
    this.#weights = weights;
    this.#device = this.#gpuFails ? { device: "cpu", reason: GPU_FAILS, adapter } : device;
    this.#host = host;
    this.#options.onRecovery?.({ error, device: this.#device });
    return host;
  }
}

/** The answer to a request for one image. */
function withImage(answer: Answer): GenerateAnswer {
  return { ...answer, ...(answer.images[0] ?? { image: null, tokens: null }) };
}

/** A browser whose GPU process died has no GPU for a moment: that is waited for. */
async function afterRestart<T>(open: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (const pause of [500, 1500]) {
    try {
      return await open();
    } catch (failed) {
      if (asSetokimError(failed).code !== "device-unavailable") throw failed;
      await withSignal(new Promise((resolve) => setTimeout(resolve, pause)), signal);
    }
  }
  return open();
}

/** Rejects as soon as the signal says so, whatever becomes of the work. */
function withSignal<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(abortedError(signal));
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

/** The manifest of the model that is asked after. */
function manifestOf(model: string | URL, { headers, fetch, signal }: ProbeOptions): Promise<string> {
  const source = new UrlSource(folderAddress(String(model)), { headers, fetch, signal, asked: String(model) });
  return source.text("manifest.json");
}

/** Bytes of RAM, as coarsely as browsers tell it (8 GiB stands for more in some); null where they do not. */
function machineMemory(): number | null {
  const deviceMemory = (globalThis.navigator as { deviceMemory?: number } | undefined)?.deviceMemory;
  return deviceMemory === undefined ? null : deviceMemory * 2 ** 30;
}

/** The caller's signal, if it is one: what else is wrong with the options is told by the answer. */
function signalOf(options: RequestOptions | null): AbortSignal | undefined {
  return isSignal(options?.signal) === undefined ? options?.signal : undefined;
}
