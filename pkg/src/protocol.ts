/**
 * What passes between the page and the worker. One request has one reply with the same id; a load sends progress
 * before it, an answer of the language model its events.
 */

import type { ErrorMessage } from "./errors.js";
import type { AnswerRequest, LoadReply, LoadRequest } from "./host.js";
import type { RequestImage } from "./image.js";
import type { DeviceReport, LoadProgress, Tokenization } from "./types.js";
import type { WasmAnswer, WasmEvent, WasmReconstruction } from "./wasm.js";

/** Each call: what it takes and what it answers. */
export interface Calls {
  probe: { request: { wasmUrl?: string | undefined }; reply: DeviceReport };
  load: { request: LoadRequest; reply: LoadReply };
  tokenize: { request: { image: RequestImage }; reply: Tokenization };
  reconstruct: { request: { image: RequestImage }; reply: WasmReconstruction };
  answer: { request: AnswerRequest; reply: WasmAnswer };
  dispose: { request: Record<never, never>; reply: null };
}

export type CallName = keyof Calls;

export type CallMessage = { [K in CallName]: { type: K; id: number; body: Calls[K]["request"] } }[CallName];

/** Page -> worker. */
export type Request = CallMessage | { type: "abort"; id: number };

/** Worker -> page. */
export type Reply =
  /** The script runs: whatever fails from here on is not a failure to start. `lock` is held for as long as it lives. */
  | { type: "hello"; lock?: string | undefined }
  | { type: "progress"; id: number; progress: LoadProgress }
  | { type: "event"; id: number; event: WasmEvent }
  | { type: "result"; id: number; value: Calls[CallName]["reply"]; requests: number; memory: number }
  | { type: "error"; id: number; error: ErrorMessage; requests: number; memory: number };
