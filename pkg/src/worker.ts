/** Entry of the dedicated worker. It owns one WebAssembly instance and one model. */

import { LocalHost } from "./local.js";
import { serve, type ServerPort } from "./server.js";

serve(globalThis as unknown as ServerPort, new LocalHost());
