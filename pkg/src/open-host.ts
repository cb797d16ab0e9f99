/** Where the engine is started: in a worker of its own, or in the calling thread. */

import { absolute } from "./addresses.js";
import { SetokimError } from "./errors.js";
import type { Host } from "./host.js";
import { LocalHost } from "./local.js";
import { RemoteHost } from "./remote.js";
import { PolicyWatch } from "./unreachable.js";
import { whyNoWorker } from "./why-no-worker.js";

interface HostOptions {
  worker?: boolean | undefined;
  workerUrl?: string | URL | undefined;
}

/** A worker's script, and the options that a bundler wants it started with. */
interface Script {
  url: string;
  options: WorkerOptions;
}

/** At once, without a promise: between a look at a signal and the work that it stops nothing may wait. */
export function openHost({ worker = true, workerUrl }: HostOptions): Host {
  if (!worker) return new LocalHost();
  if (typeof Worker !== "function") {
    throw new SetokimError(
      "worker-unavailable",
      "workers cannot be started from here, as in service workers and Node",
      {
        remedy: "Load with `worker: false`.",
      },
    );
  }
  const policy = new PolicyWatch();
  try {
    const script = workerUrl === undefined ? ownScript() : { url: absolute(workerUrl), options: workerOptions };
    const started = isElsewhere(script.url) ? startElsewhere(script) : new Worker(script.url, script.options);
    return new RemoteHost(started, () => whyNoWorker(script.url, policy), policy);
  } catch (error) {
    policy.end();
    if (error instanceof SetokimError) throw error;
    throw new SetokimError("worker-unavailable", "the worker cannot be started", { cause: error });
  }
}

const workerOptions: WorkerOptions = { type: "module", name: "setokim" };

/**
 * The package's worker, wherever it was put. Bundlers write its address into an expression that they only know whole, so
 * that the address is caught on its way to `Worker`.
 */
function ownScript(): Script {
  const scope = globalThis as { Worker: unknown };
  const real = scope.Worker;
  let script: Script | undefined;
  scope.Worker = class {
    constructor(url: string | URL, options: WorkerOptions = {}) {
      script = { url: String(url), options };
    }
  };
  try {
    // Bundlers look for exactly this expression.
    new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "setokim" });
  } finally {
    scope.Worker = real;
  }
  if (script === undefined) throw new TypeError("the bundler left no worker");
  return script;
}

/** Browsers start no worker from another origin: a page whose scripts come from a CDN, a content script, a sandboxed frame. */
function isElsewhere(url: string): boolean {
  const { protocol, origin } = new URL(url, globalThis.location?.href);
  return (
    protocol !== "blob:" && protocol !== "data:" && globalThis.origin !== undefined && origin !== globalThis.origin
  );
}

/** A worker of this origin that only imports the other one. Other scripts may be imported from anywhere. */
function startElsewhere({ url, options }: Script): Worker {
  const address = JSON.stringify(new URL(url, globalThis.location?.href).href);
  const source = options.type === "module" ? `import ${address};` : `importScripts(${address});`;
  // Without an origin of its own (in a sandboxed frame) Chrome takes no module from a blob: address.
  if (globalThis.origin === "null") return new Worker(`data:text/javascript,${encodeURIComponent(source)}`, options);
  const blob = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(blob, options);
  const revoke = (): void => URL.revokeObjectURL(blob);
  worker.addEventListener("message", revoke, { once: true });
  worker.addEventListener("error", revoke, { once: true });
  return worker;
}
