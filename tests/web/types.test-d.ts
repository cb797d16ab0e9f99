/**
 * Compile-only: what a user of the package can and cannot write, against the built package as it is published.
 * `npm run check` fails when one of these no longer holds.
 */

import {
  Setokim,
  SetokimError,
  tokenMask,
  type DeviceKind,
  type ImageInput,
  type LoadProgress,
  type Reconstruction,
  type SetokimErrorCode,
  type Tokenization,
} from "setokim";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function expectType<T extends true>(): T | undefined {
  return undefined;
}

export async function uses(file: File, files: File[], bitmap: ImageBitmap, canvas: OffscreenCanvas): Promise<void> {
  await using setokim = await Setokim.load("/models/setokim-tiny/");
  await Setokim.load(new URL("https://example.org/m/"), { device: "gpu", worker: false, cache: false });
  await Setokim.load(files, { signal: AbortSignal.timeout(1), onProgress: ({ stage, fraction }) => `${stage}${fraction}` });
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
  // @ts-expect-error: read-only
  setokim.device = { device: "cpu", reason: "", adapter: null };
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
