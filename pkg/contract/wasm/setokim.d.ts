// Stands in for the generated `pkg/wasm/setokim.d.ts` until the wasm is built, so that the package type-checks alone
// (`rootDirs` in tsconfig.json). Once it is built, the generated one is used, and checked against `src/wasm.ts`.

export default function init(input?: {
  module_or_path: URL | Request | BufferSource;
}): Promise<{ memory: WebAssembly.Memory }>;
export function probe(): Promise<unknown>;
export function remember_probe(report: unknown): void;
export class Loader {
  private constructor();
  static create(config: string, manifest: string, device: string, dtype?: string): Promise<Loader>;
  files(): unknown;
  add(name: string, bytes: Uint8Array): Promise<void>;
  finish(): Promise<Engine>;
  free(): void;
}
export class Abort {
  constructor();
  abort(): void;
  free(): void;
}
export class Engine {
  private constructor();
  device(): unknown;
  config(): unknown;
  weights(): unknown;
  tasks(): unknown;
  tokenize(bytes: Uint8Array): Promise<unknown>;
  tokenize_rgba(rgba: Uint8Array, width: number, height: number): Promise<unknown>;
  reconstruct(bytes: Uint8Array): Promise<unknown>;
  reconstruct_rgba(rgba: Uint8Array, width: number, height: number): Promise<unknown>;
  chat(messages: unknown, options: unknown, on_event: Function, abort: Abort): Promise<unknown>;
  describe(image: unknown, options: unknown, on_event: Function, abort: Abort): Promise<unknown>;
  segment(image: unknown, phrase: string, options: unknown, on_event: Function, abort: Abort): Promise<unknown>;
  generate(prompt: string, options: unknown, on_event: Function, abort: Abort): Promise<unknown>;
  edit(image: unknown, instruction: string, options: unknown, on_event: Function, abort: Abort): Promise<unknown>;
  free(): void;
}
