/** Chat, describe, segment, generate, edit: through the page's half, the protocol and the worker's half, but for the real wasm. */

import { describe, expect, it } from "vitest";
import { Setokim } from "../../../pkg/src/setokim.ts";
import type { Message } from "../../../pkg/src/tasks.ts";
import { url, useFakeBrowser } from "../fake-browser.ts";
import { FakeAbort, usage } from "../fake-wasm.ts";

const picture = Uint8Array.of(1, 2, 3);
const hello: Message[] = [{ role: "user", content: "hello you there" }];

const { engine } = useFakeBrowser();

for (const worker of [true, false]) {
  describe(worker ? "in a worker" : "in the page", () => {
    const load = (): Promise<Setokim> => Setokim.load(url, { worker, cache: false });

    it("says what the model can do", async () => {
      await using setokim = await load();
      expect(setokim.tasks).toEqual(["tokenize", "reconstruct", "chat", "describe", "segment", "generate", "edit"]);
    });

    it("chats: events as they happen, then the whole answer", async () => {
      await using setokim = await load();
      const answering = setokim.chat(hello);
      const events = [];
      for await (const event of answering) events.push(event);
      expect(events.map((event) => (event.type === "text" ? event.text : event.type))).toEqual([
        "hello ",
        "you ",
        "there",
        "mask",
        "visual-token",
        "image",
        "done",
      ]);
      const answer = await answering;
      expect(answer.text).toBe("hello you there");
      expect(answer.parts.map(({ type }) => type)).toEqual(["text", "mask", "image"]);
      expect(answer.masks).toEqual([
        {
          width: 2,
          height: 2,
          data: Uint8Array.of(1, 0, 0, 1),
          score: 0.75,
          box: [0, 0, 2, 2],
          point: [0.5, 0.5],
          tokens: [{ id: 1, covered: 0.5 }],
        },
      ]);
      expect(answer.images[0]?.tokens).toEqual({
        image: { width: 2, height: 1 },
        grid: [1, 2],
        crop: { x: 0, y: 0, width: 2, height: 1 },
        labels: Uint32Array.of(0, 1),
        tokens: [
          { id: 0, copied: 1, patches: 1 },
          { id: 1, copied: null, patches: 1 },
        ],
        removed: [0],
      });
      expect([...(answer.images[0]?.image.data ?? [])]).toEqual([1, 2, 3, 255, 4, 5, 6, 255]);
      expect(answer.usage).toEqual({
        promptTokens: 10,
        cachedTokens: 4,
        answerTokens: 3,
        visualTokens: 1,
        finish: "end",
        seconds: usage.seconds,
      });
      expect(FakeAbort.alive).toBe(0);
    });

    it("sends pictures in their messages, and takes an answer as a turn", async () => {
      await using setokim = await load();
      const messages: Message[] = [
        {
          role: "user",
          content: [
            { type: "image", image: picture },
            { type: "text", text: "draw" },
          ],
        },
      ];
      const { message } = await setokim.chat(messages);
      expect(engine().asked?.messages).toEqual([
        {
          role: "user",
          parts: [
            { type: "image", image: { bytes: picture } },
            { type: "text", text: "draw" },
          ],
        },
      ]);
      messages.push(message, { role: "user", content: "again" });
      await setokim.chat(messages);
      expect(engine().asked?.messages?.[1]).toEqual({
        role: "assistant",
        parts: [
          { type: "text", text: "draw" },
          { type: "mask" },
          { type: "image", image: { rgba: Uint8Array.of(1, 2, 3, 255, 4, 5, 6, 255), width: 2, height: 1 } },
        ],
      });
      expect(picture.byteLength).toBe(3);
    });

    it("gives Rust the options that were given, under its names", async () => {
      await using setokim = await load();
      const greedy = { temperature: 0, top_k: 0, top_p: 1, repetition_penalty: 1, seed: 0 };
      await setokim.chat(hello);
      expect(engine().asked?.options).toEqual({ sampling: greedy, diffusion: {} });
      await setokim.edit(picture, "make it red", {
        maxTokens: 40,
        temperature: 0.5,
        topK: 3,
        topP: 0.9,
        repetitionPenalty: 1.2,
        seed: 7,
        stop: ["."],
        diffusion: { steps: 5, guidance: 2, temperature: 0 },
        required: true,
        copyTokens: false,
        composite: false,
      });
      expect(engine().asked?.options).toEqual({
        max_tokens: 40,
        stop: ["."],
        sampling: { temperature: 0.5, top_k: 3, top_p: 0.9, repetition_penalty: 1.2, seed: 7 },
        diffusion: { steps: 5, guidance: 2, temperature: 0, seed: 7 },
        required: true,
        copy_tokens: false,
        composite: false,
      });
    });

    it("takes the names of transformers.js", async () => {
      await using setokim = await Setokim.load(url, { worker, cache: false, device: "wasm" });
      await setokim.chat(hello, { max_new_tokens: 12 });
      expect(engine().asked?.options).toMatchObject({ max_tokens: 12 });
      await setokim.chat(hello, { maxTokens: 3, max_new_tokens: 12 });
      expect(engine().asked?.options).toMatchObject({ max_tokens: 3 });
      await expect(Setokim.load(url, { worker, device: "webgpu" })).rejects.toMatchObject({
        code: "device-unavailable",
      });
    });

    it("describes: text as it comes, then the whole of it", async () => {
      await using setokim = await load();
      const answering = setokim.describe(picture, { maxTokens: 30 });
      const events = [];
      for await (const event of answering) events.push(event.type === "text" ? event.text : event.type);
      expect(events).toEqual(["A dog ", "on grass.", "done"]);
      expect(await answering).toMatchObject({ text: "A dog on grass.", masks: [], images: [] });
      expect(engine().calls).toEqual(["describe"]);
      expect(engine().asked).toMatchObject({ image: { bytes: picture }, options: { max_tokens: 30 } });
      expect(picture.byteLength).toBe(3); // the caller's own stays
    });

    it("segments, generates and edits", async () => {
      await using setokim = await load();
      const segmented = await setokim.segment(picture, "the dog");
      expect(segmented.mask).toMatchObject({ score: 0.75, box: [0, 0, 2, 2], point: [0.5, 0.5] });
      expect(segmented.message.content).toEqual([{ type: "mask" }]);
      const none = await setokim.segment(picture, "nothing");
      expect(none).toMatchObject({ mask: null, text: "there is none", masks: [] });

      const generated = await setokim.generate("a dog");
      expect(generated.image).toMatchObject({ width: 2, height: 1 });
      expect(generated.tokens?.labels).toEqual(Uint32Array.of(0, 1));
      const refused = await setokim.generate("nothing");
      expect(refused).toMatchObject({ image: null, tokens: null, text: "i can not", images: [] });

      expect((await setokim.edit(picture, "remove the dog")).tokens?.removed).toEqual([0]);
      expect(await setokim.edit(picture, "nothing")).toMatchObject({ image: null, text: "there is none" });
      expect(engine().calls).toEqual([
        "segment the dog",
        "segment nothing",
        "generate a dog",
        "generate nothing",
        "edit remove the dog",
        "edit nothing",
      ]);
    });

    it("answers in order, and takes out of the queue what is aborted", async () => {
      await using setokim = await load();
      const abort = new AbortController();
      const answers = [
        setokim.chat(hello),
        setokim.segment(picture, "the cat", { signal: abort.signal }),
        setokim.generate("a dog"),
      ];
      abort.abort();
      const outcome = await Promise.allSettled(answers);
      expect(outcome.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
      expect(engine().calls).toEqual(["chat hello you there", "generate a dog"]);
    });

    it("stops between two tokens when the loop is left, and goes on with the next", async () => {
      await using setokim = await load();
      const seen: string[] = [];
      for await (const event of setokim.chat([{ role: "user", content: "word ".repeat(500) }])) {
        if (event.type === "text") seen.push(event.text);
        if (seen.length === 2) break;
      }
      // 500 words would take longer than this test may.
      expect((await setokim.chat(hello)).text).toBe("hello you there");
      expect(FakeAbort.alive).toBe(0);
    });

    it("gives typed errors", async () => {
      await using setokim = await load();
      await expect(setokim.generate("")).rejects.toMatchObject({ code: "prompt-invalid", name: "SetokimError" });
      await expect(setokim.segment(42 as never, "x")).rejects.toMatchObject({ code: "image-decode" });
      const odd = [{ role: "user", content: [{ type: "audio" }] }] as unknown as Message[];
      await expect(setokim.chat(odd)).rejects.toMatchObject({ code: "prompt-invalid" });
      await expect(setokim.chat(hello, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "aborted" });
      await expect(setokim.chat([{ role: "user", content: "trap" }])).rejects.toMatchObject({ code: "crashed" });
      await setokim.dispose();
      await expect(setokim.chat(hello)).rejects.toMatchObject({ code: "disposed" });
    });
  });
}
