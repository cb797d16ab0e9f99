/** How bytes are fetched: by the browser, from the disk in Node, or by a function of the page. */

/** `fetch` as far as the package uses it: an absolute address, and what goes with it. */
export type Fetch = (url: string, init: FetchInit) => Promise<Response>;

export interface FetchInit {
  headers?: Record<string, string>;
  cache?: RequestCache;
  signal?: AbortSignal;
}

/** The part of Node's `process` that is used. */
interface NodeProcess {
  getBuiltinModule?(name: "node:fs/promises"): { readFile(path: URL): Promise<Uint8Array<ArrayBuffer>> };
}

/** Node's `fetch` reads no files, so `file:` addresses are read from the disk there. */
export const fetchUrl: Fetch = async (url, init) => {
  const bytes = url.startsWith("file:") ? await readFile(new URL(url)) : undefined;
  if (bytes === undefined) return fetch(url, init);
  return bytes === null ? new Response(null, { status: 404 }) : new Response(bytes);
};

/** The bytes of a file, null when there is none of that name, and undefined where no files can be read. */
export async function readFile(url: URL): Promise<Uint8Array<ArrayBuffer> | null | undefined> {
  const node = (globalThis as { process?: NodeProcess }).process;
  const files = node?.getBuiltinModule?.("node:fs/promises");
  if (files === undefined) return undefined;
  try {
    return await files.readFile(url);
  } catch (error) {
    if ((error as { code?: unknown }).code === "ENOENT") return null;
    throw error;
  }
}
