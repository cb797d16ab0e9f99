/** A page's own `fetch` for its worker: functions cannot be sent, so requests and answers are, through a port. */

import type { Fetch, FetchInit } from "./fetching.js";

/** Worker -> page. The body is pulled, chunk by chunk, so that a slow reader is not flooded. */
type Ask =
  | { type: "fetch"; id: number; url: string; init: Omit<FetchInit, "signal"> }
  | { type: "pull" | "abort"; id: number };

/** Page -> worker. */
type Tell =
  | { type: "head"; id: number; status: number; headers: [string, string][] }
  | { type: "chunk"; id: number; bytes: Uint8Array<ArrayBuffer> }
  | { type: "end"; id: number }
  | { type: "failed"; id: number; message: string };

/** Answers from the page's side of the port. */
export function serveFetch(port: MessagePort, fetch: Fetch): void {
  const stops = new Map<number, AbortController>();
  const bodies = new Map<number, ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>>();
  const tell = (message: Tell, transfer: Transferable[] = []): void => port.postMessage(message, transfer);
  const end = (id: number): void => {
    stops.delete(id);
    bodies.delete(id);
  };
  const answer = async (ask: Ask): Promise<void> => {
    const { id } = ask;
    if (ask.type === "abort") {
      stops.get(id)?.abort();
      void bodies
        .get(id)
        ?.cancel()
        .catch(() => undefined);
      return end(id);
    }
    if (ask.type === "fetch") {
      const stop = new AbortController();
      stops.set(id, stop);
      const response = await fetch(ask.url, { ...ask.init, signal: stop.signal });
      if (stop.signal.aborted) return void response.body?.cancel(); // a `fetch` that does not look at its signal
      if (response.body !== null) bodies.set(id, response.body.getReader());
      return tell({ type: "head", id, status: response.status, headers: headersOf(response) });
    }
    const next = await bodies.get(id)?.read();
    if (next?.value === undefined) {
      end(id);
      return tell({ type: "end", id });
    }
    const bytes = Uint8Array.from(next.value); // the page may keep its own
    tell({ type: "chunk", id, bytes }, [bytes.buffer]);
  };
  port.onmessage = ({ data }: MessageEvent<Ask>) => {
    answer(data).catch((error: unknown) => {
      end(data.id);
      tell({ type: "failed", id: data.id, message: error instanceof Error ? error.message : String(error) });
    });
  };
}

/** `fetch` on the worker's side of the port. */
export function portFetch(port: MessagePort): Fetch {
  const listeners = new Map<number, (message: Tell) => void>();
  let last = 0;
  port.onmessage = ({ data }: MessageEvent<Tell>) => listeners.get(data.id)?.(data);
  return (url, { signal, ...init }) => {
    const id = (last += 1);
    const ask = (message: Ask): void => port.postMessage(message);
    let body: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined;
    return new Promise<Response>((resolve, reject) => {
      const onAbort = (): void => {
        ask({ type: "abort", id });
        fail(signal?.reason);
      };
      const end = (): void => {
        listeners.delete(id);
        signal?.removeEventListener("abort", onAbort);
      };
      const fail = (error: unknown): void => {
        end();
        reject(error); // changes nothing once there is a response
        body?.error(error);
      };
      if (signal?.aborted === true) return reject(signal.reason);
      signal?.addEventListener("abort", onAbort, { once: true });
      listeners.set(id, (message) => {
        if (message.type === "head") {
          const stream = new ReadableStream<Uint8Array<ArrayBuffer>>(
            {
              start: (controller) => void (body = controller),
              pull: () => ask({ type: "pull", id }),
              cancel: () => {
                ask({ type: "abort", id });
                end();
              },
            },
            { highWaterMark: 0 },
          );
          const isEmpty = [204, 205, 304].includes(message.status);
          resolve(new Response(isEmpty ? null : stream, { status: message.status, headers: message.headers }));
        } else if (message.type === "chunk") body?.enqueue(message.bytes);
        else if (message.type === "end") {
          end();
          body?.close();
        } else fail(new TypeError(message.message));
      });
      ask({ type: "fetch", id, url, init });
    });
  };
}

/** What the answer says of itself. Another site's length may be that of packed bytes, which only the page can tell. */
function headersOf({ type, headers }: Response): [string, string][] {
  return [...headers].filter(([name]) => type !== "cors" || name !== "content-length");
}
