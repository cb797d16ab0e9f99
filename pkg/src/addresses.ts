/** What `load` is given -> where the model is, or a sentence that says what it was given instead. */

import { SetokimError } from "./errors.js";
import { shown, tagOf } from "./options.js";
import type { ModelSource } from "./types.js";

const folderRemedy = "Pass the address of the model's folder, or the files of that folder.";

/** An absolute address, or the files. */
export function modelSource(source: ModelSource): string | readonly File[] {
  if (typeof source === "string" || tagOf(source) === "URL") return folderAddress(String(source));
  const files = isIterable(source) ? [...source] : undefined;
  if (files === undefined || !files.every((file) => tagOf(file) === "File")) {
    const what = files === undefined ? shown(source) : "a list of something else than files";
    throw new SetokimError("setting-invalid", `the model is ${what}, and neither an address nor files`, {
      remedy: folderRemedy,
    });
  }
  return files;
}

/** Against the page's address: the worker has another one. */
export function absolute(url: string | URL): string {
  const base = typeof document === "undefined" ? globalThis.location?.href : document.baseURI;
  try {
    return new URL(url, base).href;
  } catch (error) {
    throw new SetokimError("setting-invalid", `this is not an address: ${String(url)}`, {
      remedy: "Pass a whole address: there is no page that it could be relative to, or it has a mistake.",
      cause: error,
    });
  }
}

/** An address without what only its owner should see: query (signatures stand there), user and password. */
export function publicAddress(url: string | URL): string {
  const { protocol, host, pathname, href } = new URL(url);
  return host === "" ? href : `${protocol}//${host}${pathname}`;
}

/** An absolute address; those of no folder are refused before anything is asked of a server. */
export function folderAddress(given: string): string {
  if (given.trim() === "") {
    throw new SetokimError("setting-invalid", "the model's address is empty", { remedy: folderRemedy });
  }
  const url = absolute(given);
  const { hostname, pathname } = new URL(url);
  const [, repository, revision = "main"] =
    /^\/([^/]+\/[^/]+?)(?:\/?|\/(?:tree|blob)\/([^/]+).*)$/.exec(pathname) ?? [];
  if (/^(www\.)?(huggingface\.co|hf\.co)$/.test(hostname) && repository !== undefined) {
    throw new SetokimError("setting-invalid", `${publicAddress(url)} is a page about a model, not its folder`, {
      remedy: `Pass https://huggingface.co/${repository}/resolve/${revision}/, if that is a folder that \`setokim convert\` wrote.`,
    });
  }
  const [file = "", ending = ""] = /[^/]+\.(\w+)$/.exec(decoded(new URL(url).pathname)) ?? [];
  const foreign = foreignRemedies[ending.toLowerCase()];
  if (foreign !== undefined) {
    throw new SetokimError("unsupported", `${file} is a file of another program, and the folder of a model is wanted`, {
      remedy: foreign.replaceAll("FILE", file),
    });
  }
  if (ending.toLowerCase() === "safetensors" || file === "config.json" || file === "manifest.json") {
    throw new SetokimError("setting-invalid", `${file} is one file, and the folder of a model is wanted`, {
      remedy: `Pass the address of its folder: ${publicAddress(new URL(".", url))}`,
    });
  }
  return url;
}

const convertRemedy =
  "Convert it with `setokim convert FILE -o my-model` (docs/convert.md), and pass that folder's address.";

/** What to do with a file, by its ending. */
const foreignRemedies: Readonly<Record<string, string>> = {
  gguf: "Join it with a vision tower: `setokim convert siglip-base-patch16-224 --language FILE -o my-model` (docs/convert.md), and pass that folder's address.",
  onnx: "Convert the PyTorch form of the same model with `setokim convert` (docs/convert.md), and pass that folder's address.",
  bin: convertRemedy,
  pt: convertRemedy,
  pth: convertRemedy,
  zip: "Unpack it, serve the folder that is in it, and pass that folder's address.",
};

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function isIterable(value: unknown): value is Iterable<File> {
  return typeof value === "object" && value !== null && Symbol.iterator in value;
}
