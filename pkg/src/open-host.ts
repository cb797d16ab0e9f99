/** Where the engine is started: in a worker of its own, or in the calling thread. */

import { SetokimError } from "./errors.js";
import type { Host } from "./host.js";
import { LocalHost } from "./local.js";
import { RemoteHost } from "./remote.js";

interface HostOptions {
  worker?: boolean | undefined;
  workerUrl?: string | URL | undefined;
}

/** At once, without a promise: between a look at a signal and the work that it stops nothing may wait. */
export function openHost({ worker = true, workerUrl }: HostOptions): Host {
  if (!worker) return new LocalHost();
  try {
    // Bundlers look for exactly this expression.
    return new RemoteHost(
      workerUrl === undefined
        ? new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "setokim" })
        : new Worker(workerUrl, { type: "module", name: "setokim" }),
    );
  } catch (error) {
    throw new SetokimError("worker-unavailable", "the worker cannot be started", { cause: error });
  }
}
