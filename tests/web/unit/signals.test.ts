/**
 * A signal that fires right after the call, and at every moment after that until the answer is there: the call rejects
 * with `aborted`, and nothing is left running. React's StrictMode aborts the first of two calls in just this way.
 */

import { describe, expect, it } from "vitest";
import { openai } from "../../../pkg/src/openai.ts";
import { Setokim } from "../../../pkg/src/setokim.ts";
import type { Message } from "../../../pkg/src/tasks.ts";
import { url, useFakeBrowser } from "../fake-browser.ts";
import { FakeAbort, loaders } from "../fake-wasm.ts";
import { FakeWorker } from "../fake-worker.ts";

const { server, engine } = useFakeBrowser();

const picture = Uint8Array.of(1, 2, 3);
const messages: Message[] = [
  {
    role: "user",
    content: [
      { type: "image", image: picture },
      { type: "text", text: "hello you" },
    ],
  },
];

/** So many turns of promises later, or of the event loop: a message to the worker and back takes some. */
const moments = [
  ...Array.from({ length: 12 }, (_, turns) => ({ turns, of: "promises" as const })),
  ...[0, 1, 2, 4, 8].map((turns) => ({ turns, of: "the event loop" as const })),
];

async function wait({ turns, of }: (typeof moments)[number]): Promise<void> {
  if (of === "the event loop") await new Promise((resolve) => setTimeout(resolve, turns));
  else for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
}

const codeOf = (call: PromiseLike<unknown>): Promise<unknown> =>
  Promise.resolve(call).then(
    () => "answered",
    (error: unknown) => (error as { code?: unknown }).code,
  );

/** The whole answer is there: it has an image, and nothing in Node makes a PNG of it. */
function ofAnswer(error: unknown): void {
  if ((error as { code?: unknown }).code !== "unsupported") throw error;
}

/** Every call that takes a signal, once a model is there. */
const calls: Record<string, (setokim: Setokim, signal: AbortSignal) => PromiseLike<unknown>> = {
  tokenize: (setokim, signal) => setokim.tokenize(picture, { signal }),
  "tokenize of a Blob": (setokim, signal) => setokim.tokenize(new Blob([picture]), { signal }),
  "tokenize of an address": (setokim, signal) => setokim.tokenize("https://example.org/p.png", { signal }),
  reconstruct: (setokim, signal) => setokim.reconstruct(picture, { signal }),
  chat: (setokim, signal) => setokim.chat(messages, { signal }),
  describe: (setokim, signal) => setokim.describe(picture, { signal }),
  segment: (setokim, signal) => setokim.segment(picture, "the cat", { signal }),
  generate: (setokim, signal) => setokim.generate("a cat", { signal }),
  edit: (setokim, signal) => setokim.edit(picture, "make it red", { signal }),
  "a loop": (setokim, signal) =>
    (async () => {
      for await (const _ of setokim.generate("a cat", { signal }));
    })(),
  "a stream": (setokim, signal) => setokim.chat(messages, { signal }).stream().pipeTo(new WritableStream()),
  "chat.completions": (setokim, signal) =>
    openai(setokim)
      .chat.completions.create({ messages: [{ role: "user", content: "hello" }] }, { signal })
      .catch(ofAnswer),
  "chat.completions that stream": async (setokim, signal) => {
    const params = { messages: [{ role: "user", content: "hello" } as const], stream: true as const };
    try {
      for await (const _ of await openai(setokim).chat.completions.create(params, { signal }));
    } catch (error) {
      ofAnswer(error);
    }
  },
};

for (const worker of [true, false]) {
  describe(worker ? "in a worker" : "in the page", () => {
    it("load: nothing is asked of the network, and no engine or worker is left", async () => {
      for (const moment of moments) {
        const abort = new AbortController();
        const code = codeOf(Setokim.load(url, { worker, cache: false, signal: abort.signal }));
        await wait(moment);
        abort.abort();
        const name = `${moment.turns} of ${moment.of}`;
        expect(await code, name).toMatch(moment.of === "promises" ? /^aborted$/ : /^(aborted|answered)$/);
        if ((await code) === "answered") continue;
        await expect.poll(() => FakeWorker.all.every(({ terminated }) => terminated), { message: name }).toBe(true);
        await expect.poll(() => server.active, { message: name }).toBe(0);
        const asked = server.requests.length;
        await new Promise((resolve) => setTimeout(resolve, 20));
        expect(server.requests.length, name).toBe(asked);
        for (const loader of loaders) expect(loader.freed || loader.engine.freed, name).toBe(true);
        loaders.length = 0;
      }
    });

    it("load in strict mode: the second of two calls answers, the first is gone", async () => {
      const abort = new AbortController();
      const first = codeOf(Setokim.load(url, { worker, cache: false, signal: abort.signal }));
      abort.abort();
      const second = await Setokim.load(url, { worker, cache: false, signal: new AbortController().signal });
      expect(await first).toBe("aborted");
      expect(server.requests.filter(({ name }) => name === "a.safetensors")).toHaveLength(1);
      await second.dispose();
    });

    it("probe", async () => {
      for (const moment of moments.filter(({ of }) => of === "promises").slice(0, 3)) {
        const abort = new AbortController();
        const code = codeOf(Setokim.probe({ worker, model: url, signal: abort.signal }));
        await wait(moment);
        abort.abort();
        expect(await code).toBe("aborted");
        await expect.poll(() => FakeWorker.all.every(({ terminated }) => terminated)).toBe(true);
        await expect.poll(() => server.active).toBe(0);
      }
    });

    for (const [name, call] of Object.entries(calls)) {
      it(name, async () => {
        server.files.set("p.png", picture);
        const setokim = await Setokim.load(url, { worker, cache: false });
        for (const moment of moments) {
          const abort = new AbortController();
          const code = codeOf(call(setokim, abort.signal));
          await wait(moment);
          const begun = engine().calls.length;
          const atOnce = moment.of === "promises" && moment.turns === 0;
          abort.abort();
          expect(await code, JSON.stringify(moment)).toMatch(atOnce ? /^aborted$/ : /^(aborted|answered)$/);
          // What was on its way to the worker may begin and is stopped there; right after the call nothing is.
          await setokim.tokenize(picture);
          if (atOnce) expect(engine().calls.slice(begun), JSON.stringify(moment)).toEqual(["tokenize 3"]);
          expect(FakeAbort.alive, JSON.stringify(moment)).toBe(0);
          expect(server.active, JSON.stringify(moment)).toBe(0);
        }
        await setokim.dispose();
      });
    }

    it("an answer stops before its next token, whenever the signal comes", async () => {
      const setokim = await Setokim.load(url, { worker, cache: false });
      const finished = (): number => engine().finished;
      for (const moment of moments.slice(0, 6)) {
        const abort = new AbortController();
        const before = finished();
        const code = codeOf(setokim.chat(messages, { signal: abort.signal }));
        await wait(moment);
        abort.abort();
        expect(await code).toBe("aborted");
        await setokim.tokenize(picture); // its turn comes when the answer before has ended
        expect(finished(), JSON.stringify(moment)).toBe(before);
      }
      await setokim.dispose();
    });
  });
}
