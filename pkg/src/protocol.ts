/**
 * What passes between the page and the worker. One request has one reply with the same id; a load sends progress
 * before it. (Answers that come piece by piece get their own `event` message when the language model arrives.)
 */

import type { ErrorMessage } from "./errors.js";
import type { LoadReply, LoadRequest } from "./host.js";
import type { Picture } from "./image.js";
import type { DeviceReport, LoadProgress, Tokenization } from "./types.js";
import type { WasmReconstruction } from "./wasm.js";

/** Each call: what it takes and what it answers. */
export interface Calls {
  probe: { request: { wasmUrl?: string | undefined }; reply: DeviceReport };
  load: { request: LoadRequest; reply: LoadReply };
  tokenize: { request: { picture: Picture }; reply: Tokenization };
  reconstruct: { request: { picture: Picture }; reply: WasmReconstruction };
  dispose: { request: Record<never, never>; reply: null };
}

export type CallName = keyof Calls;

export type CallMessage = { [K in CallName]: { type: K; id: number; body: Calls[K]["request"] } }[CallName];

/** Page -> worker. */
export type Request = CallMessage | { type: "abort"; id: number };

/** Worker -> page. */
export type Reply =
  /** The script runs: whatever fails from here on is not a failure to start. */
  | { type: "hello" }
  | { type: "progress"; id: number; progress: LoadProgress }
  | { type: "result"; id: number; value: Calls[CallName]["reply"]; requests: number }
  | { type: "error"; id: number; error: ErrorMessage; requests: number };
