/** Why a file of a model cannot be had, in words, and what to do about it: a browser says only "Failed to fetch". */

import { publicAddress } from "./addresses.js";
import { SetokimError } from "./errors.js";

/** What was asked for, and how. */
export interface Asked {
  /** The file. */
  url: URL;
  /** The model's address as the caller wrote it. */
  source?: string | undefined;
  headers?: Readonly<Record<string, string>> | undefined;
  /** The caller's own `fetch` was asked: what it says is all that is known. */
  own?: boolean | undefined;
}

/** An answer that is none of the model's files: a status, or a web page in a file's place. */
export class WrongAnswer extends Error {
  /** 200 for a web page. */
  readonly status: number;

  constructor(status: number) {
    super(status === 200 ? "the server sends a web page in its place" : `the server answers ${status}`);
    this.status = status;
  }
}

const folderRemedy = "Check the address of the model's folder: config.json and manifest.json stand in it.";

/** The error for what the last try failed with. `blocked` is what a content policy blocked meanwhile. */
export async function unreachable(asked: Asked, cause: unknown, blocked: readonly string[]): Promise<SetokimError> {
  const [why, remedy] =
    cause instanceof WrongAnswer ? wrongAnswer(asked, cause) : await noAnswer(asked, cause, blocked);
  return new SetokimError("network", `${publicAddress(asked.url)} cannot be fetched: ${why}`, { remedy, cause });
}

function wrongAnswer({ source }: Asked, { status, message }: WrongAnswer): [why: string, remedy: string | undefined] {
  if (status === 401 || status === 403) {
    const remedy =
      "Pass what the server asks for: in `headers`, by a `fetch` of your own, or as the query of the address, which goes with every file.";
    return [`${message}, it wants to know who asks or whether they may`, remedy];
  }
  if (status !== 200 && status !== 404 && status !== 410) return [message, undefined];
  if (source !== undefined && /^[\w-][\w.-]*\/[\w.-]+$/.test(source)) {
    const remedy = `${source} was read as a folder beside this page. If it is a name on Hugging Face's hub, pass https://huggingface.co/${source}/resolve/main/, which must be a folder that \`setokim convert\` wrote.`;
    return [message, remedy];
  }
  return [message, folderRemedy];
}

async function noAnswer(
  { url, headers = {}, own = false }: Asked,
  cause: unknown,
  blocked: readonly string[],
): Promise<[why: string, remedy: string | undefined]> {
  const reason = cause instanceof Error ? cause.message : String(cause);
  if (own) return [`the given \`fetch\` failed: ${reason}`, "See what the `fetch` option does with this address."];
  const here = globalThis.origin;
  if (blocked.length > 0) {
    return [
      "the page's content policy forbids it",
      `Add ${url.origin === here ? "'self'" : url.origin} to connect-src in the page's Content-Security-Policy.`,
    ];
  }
  if (globalThis.location?.protocol === "https:" && url.protocol === "http:" && !isLoopback(url)) {
    return ["a secure page may not ask an insecure server", `Serve the model's folder by https: as well.`];
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    return [`a page cannot read ${url.protocol} addresses`, "Serve the folder by http, or pass its files."];
  }
  if (url.origin !== here && here !== undefined && (await answersAtAll(url))) {
    const names = Object.keys(headers).join(", ");
    const allowed = names === "" ? "" : ` and \`Access-Control-Allow-Headers: ${names}\``;
    return [
      "the server is there, but does not let pages of other sites read it (CORS)",
      `Have ${url.origin} send \`Access-Control-Allow-Origin: *\`${allowed} with the model's files, or copy the folder to this page's own server.`,
    ];
  }
  return [globalThis.navigator?.onLine === false ? "there is no network" : reason, undefined];
}

/** Whether a server answers a request whose answer nobody may read. */
async function answersAtAll(url: URL): Promise<boolean> {
  try {
    await fetch(url, { mode: "no-cors", method: "HEAD", cache: "no-store", signal: AbortSignal.timeout(5000) });
    return true;
  } catch {
    return false;
  }
}

function isLoopback({ hostname }: URL): boolean {
  return (
    hostname === "localhost" || hostname.endsWith(".localhost") || hostname === "127.0.0.1" || hostname === "[::1]"
  );
}

/** What the content policy of this thread blocks from now on: its directives, such as `connect-src`. */
export class PolicyWatch {
  readonly #blocked: string[] = [];
  readonly #listener = ({ effectiveDirective }: SecurityPolicyViolationEvent): void => {
    this.#blocked.push(effectiveDirective);
  };

  constructor() {
    globalThis.addEventListener?.("securitypolicyviolation", this.#listener as (event: Event) => void);
  }

  /** Those of these directives that something broke. The events come a task later than the failures. */
  async broken(...directives: string[]): Promise<string[]> {
    await new Promise((resolve) => setTimeout(resolve, 20));
    return this.#blocked.filter((directive) => directives.includes(directive));
  }

  end(): void {
    globalThis.removeEventListener?.("securitypolicyviolation", this.#listener as (event: Event) => void);
  }
}
