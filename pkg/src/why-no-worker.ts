/** Why a worker did not start: browsers send an event without a word. */

import { publicAddress } from "./addresses.js";
import { SetokimError } from "./errors.js";
import type { PolicyWatch } from "./unreachable.js";

const ownThread = "or load with `worker: false`";

const bundlerRemedy = `Make \`setokim/worker\` an entry point of its own (esbuild: node_modules/setokim/dist/worker.js), copy \
node_modules/setokim/wasm/setokim_bg.wasm, and pass the addresses of both as \`workerUrl\` and \`wasmUrl\`; ${ownThread}.`;

export async function whyNoWorker(url: string, policy: PolicyWatch): Promise<SetokimError> {
  const [why, remedy] = await reasonOf(url, policy);
  return new SetokimError("worker-unavailable", `the worker ${shortened(url)} cannot be started: ${why}`, { remedy });
}

async function reasonOf(url: string, policy: PolicyWatch): Promise<[why: string, remedy: string]> {
  const broken = await policy.broken("worker-src");
  if (broken.length > 0) {
    const { origin } = new URL(url, globalThis.location?.href);
    const words =
      origin === globalThis.origin ? "'self'" : `${globalThis.origin === "null" ? "data:" : "blob:"} and ${origin}`;
    return [
      "the page's content policy forbids it",
      `Add ${words} to worker-src in the page's Content-Security-Policy, ${ownThread}.`,
    ];
  }
  if (url.includes("/.vite/deps/")) {
    return [
      "Vite's dependency optimiser left it out",
      'Add `optimizeDeps: { exclude: ["setokim"] }` to vite.config, and start the server anew.',
    ];
  }
  let response: Response;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(10_000) });
  } catch {
    return [
      "its script cannot be fetched (no connection, or its server allows no other sites)",
      `Serve the package's files with \`Access-Control-Allow-Origin: *\`, pass \`workerUrl\`, ${ownThread}.`,
    ];
  }
  void response.body?.cancel().catch(() => undefined);
  if (!response.ok) return [`its server answers ${response.status}`, bundlerRemedy];
  const type = response.headers.get("content-type") ?? "";
  if (!/javascript/i.test(type)) return [`it is no script but ${type === "" ? "of no type" : type}`, bundlerRemedy];
  return [
    "its script, or one that it imports, does not run",
    `Look into the browser's console. If a bundler moved the worker: ${bundlerRemedy}`,
  ];
}

function shortened(url: string): string {
  return URL.canParse(url) && /^https?:/.test(url) ? publicAddress(url) : "script";
}
