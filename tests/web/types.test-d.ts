/**
 * Compile-only: what a user of the package can and cannot write, against the built package as it is published.
 * `npm run check` fails when one of these no longer holds.
 */

import {
  type Answer,
  type AnswerEvent,
  type DescribeEvent,
  type DeviceKind,
  type Dtype,
  drawOverlay,
  type GeneratedTokens,
  type ImageInput,
  type LoadProgress,
  type Message,
  maskToRle,
  type Reconstruction,
  type SegmentationMask,
  type SegmentEvent,
  Setokim,
  SetokimError,
  type SetokimErrorCode,
  type Task,
  type Tokenization,
  tokenMask,
  type WeightTypes,
} from "setokim";
import { type ChatCompletion, type ChatCompletionChunk, openai } from "setokim/openai";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function expectType<T extends true>(): T | undefined {
  return undefined;
}

export async function probes(): Promise<void> {
  const { device, fits, memory, verdict } = await Setokim.probe({ model: new URL("https://example.org/model/") });
  expectType<Equal<typeof device, DeviceKind>>();
  expectType<Equal<typeof fits, boolean | null>>();
  expectType<Equal<typeof memory, number | null>>();
  expectType<Equal<typeof verdict, string>>();
  // @ts-expect-error: files that were picked need no probing
  await Setokim.probe({ model: [new File([], "a")] });
}

export async function uses(file: File, files: File[], bitmap: ImageBitmap, canvas: OffscreenCanvas): Promise<void> {
  await using setokim = await Setokim.load("/models/setokim-tiny/");
  await Setokim.load(new URL("https://example.org/m/"), { device: "gpu", worker: false, cache: false });
  await Setokim.load(files, {
    signal: AbortSignal.timeout(1),
    onProgress: ({ stage, fraction }) => `${stage}${fraction}`,
  });
  await Setokim.load("/m/", { dtype: "q4_0", device: "webgpu" });
  // @ts-expect-error: no such type
  await Setokim.load("/m/", { dtype: "int4" });
  // @ts-expect-error: no such device
  await Setokim.load("/m/", { device: "tpu" });
  // @ts-expect-error: an undefined signal is not a signal
  await Setokim.load("/m/", { signal: undefined });
  // @ts-expect-error: only `load` makes one
  new Setokim();

  const inputs: ImageInput[] = [file, bitmap, canvas, "a.png", new URL("https://example.org"), new Uint8Array(1)];
  for (const input of inputs) await setokim.tokenize(input, { signal: AbortSignal.timeout(1) });
  // @ts-expect-error: not a picture
  await setokim.tokenize(42);

  const tokens = await setokim.tokenize(file);
  expectType<Equal<typeof tokens, Tokenization>>();
  expectType<Equal<typeof tokens.labels, Uint32Array>>();
  expectType<Equal<typeof tokens.device, DeviceKind>>();
  const [token] = tokens.tokens;
  if (token !== undefined) tokenMask(tokens, token.id, "image").data satisfies Uint8Array;
  // @ts-expect-error: undefined when there is none, under noUncheckedIndexedAccess
  tokens.tokens[0].id;

  const again = await setokim.reconstruct(canvas);
  expectType<Equal<typeof again, Reconstruction>>();
  again.image satisfies ImageData;
  expectType<Equal<typeof setokim.weights, WeightTypes>>();
  expectType<Equal<typeof setokim.weights.memory, Dtype>>();
  // @ts-expect-error: read-only
  setokim.weights = { stored: [], memory: "stored", memoryBytes: 0 };
  // @ts-expect-error: read-only
  setokim.device = { device: "cpu", reason: "", adapter: null };
}

export async function asks(setokim: Setokim, file: File, context: CanvasRenderingContext2D): Promise<void> {
  expectType<Equal<typeof setokim.tasks, readonly Task[]>>();
  const messages: Message[] = [
    { role: "user", content: "hello" },
    {
      role: "user",
      content: [
        { type: "image", image: file },
        { type: "text", text: "what is this?" },
      ],
    },
  ];
  // @ts-expect-error: no such role
  messages.push({ role: "system", content: "hello" });
  // @ts-expect-error: an image part has a picture
  messages.push({ role: "user", content: [{ type: "image" }] });

  const answer = await setokim.chat(messages, {
    maxTokens: 10,
    temperature: 0.5,
    seed: 1,
    signal: AbortSignal.timeout(1),
  });
  expectType<Equal<typeof answer, Answer>>();
  messages.push(answer.message);
  for await (const event of setokim.chat(messages)) expectType<Equal<typeof event, AnswerEvent>>();
  await setokim.chat(messages, { max_new_tokens: 10 });
  // @ts-expect-error: the name in Rust
  await setokim.chat(messages, { max_tokens: 10 });

  const { text } = await setokim.describe(file, { maxTokens: 30, signal: AbortSignal.timeout(1) });
  expectType<Equal<typeof text, string>>();
  for await (const event of setokim.describe(file)) expectType<Equal<typeof event, DescribeEvent>>();
  expectType<Equal<DescribeEvent["type"], "text" | "done">>();
  // @ts-expect-error: the question is the model's own
  await setokim.describe(file, "What is it?");
  // @ts-expect-error: there are always words
  await setokim.describe(file, { required: true });

  const { mask } = await setokim.segment(file, "the dog", { required: true });
  expectType<Equal<typeof mask, SegmentationMask | null>>();
  if (mask !== null) {
    maskToRle(mask);
    expectType<Equal<typeof mask.box, [left: number, top: number, right: number, bottom: number] | null>>();
    expectType<Equal<typeof mask.point, [x: number, y: number]>>();
  }
  // @ts-expect-error: no image is made
  await setokim.segment(file, "the dog", { diffusion: { steps: 5 } });
  for await (const event of setokim.segment(file, "the dog")) {
    expectType<Equal<typeof event.type, "text" | "mask" | "done">>();
  }

  const events = setokim.segment(file, "the dog").stream();
  expectType<Equal<typeof events, ReadableStream<SegmentEvent>>>();
  const words = setokim
    .chat(messages)
    .stream()
    .pipeThrough(
      new TransformStream<AnswerEvent, string>({
        transform: (event, out) => (event.type === "text" ? out.enqueue(event.text) : undefined),
      }),
    );
  for await (const word of words) expectType<Equal<typeof word, string>>();

  const diffusion = { steps: 25, guidance: 2, temperature: 1 };
  const { image, tokens } = await setokim.generate("a dog", { diffusion, required: true });
  expectType<Equal<typeof image, ImageData | null>>();
  if (image === null) return;
  expectType<Equal<typeof tokens, GeneratedTokens>>(); // where there is an image, there are its tokens
  tokenMask(tokens, 0, "image");
  drawOverlay(context, tokens);
  const edited = await setokim.edit(image, "make the dog red", { copyTokens: false, composite: false });
  expectType<Equal<typeof edited.image, ImageData | null>>();
  setokim.generate("a cat").abort();
}

export async function adapts(setokim: Setokim): Promise<void> {
  const { completions } = openai(setokim).chat;
  const whole = await completions.create({ messages: [{ role: "user", content: "hello" }], max_tokens: 5 });
  expectType<Equal<typeof whole, ChatCompletion>>();
  const stream = await completions.create({ messages: [{ role: "user", content: "hello" }], stream: true });
  for await (const chunk of stream) expectType<Equal<typeof chunk, ChatCompletionChunk>>();
  new Response(stream.toReadableStream());
  // @ts-expect-error: an answer in one piece has nothing to stream
  whole.toReadableStream();
}

export function reads(error: unknown, progress: LoadProgress): string {
  expectType<Equal<LoadProgress["stage"], "download" | "verify" | "upload" | "compile" | "warmup" | "ready">>();
  if (progress.file !== undefined) progress.file satisfies string;
  if (!(error instanceof SetokimError)) return "";
  expectType<Equal<typeof error.code, SetokimErrorCode>>();
  // @ts-expect-error: no such code
  if (error.code === "nonsense") return "";
  return error.remedy;
}
