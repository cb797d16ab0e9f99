/** Entry of the dedicated worker. It owns one WebAssembly instance and one model. */

import { LocalHost } from "./local.js";
import { type ServerPort, serve } from "./server.js";

serve(globalThis as unknown as ServerPort, new LocalHost());
