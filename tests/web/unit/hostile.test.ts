/** What no caller with TypeScript would pass, and what no browser of today lacks: a typed error that says so. */

import { describe, expect, it, vi } from "vitest";
import { SetokimError } from "../../../pkg/src/errors.ts";
import { imageFrom } from "../../../pkg/src/image.ts";
import { Setokim } from "../../../pkg/src/setokim.ts";
import type { Message } from "../../../pkg/src/tasks.ts";
import { url, useFakeBrowser } from "../fake-browser.ts";
import { report } from "../fake-wasm.ts";

const { server } = useFakeBrowser();

/** The same numbers every time (mulberry32), so that what fails fails again. */
function randoms(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** Something between a good conversation and no conversation at all. */
function junk(random: (below: number) => number, depth = 0): unknown {
  const circle: Record<string, unknown> = { type: "text" };
  circle["text"] = circle;
  const some = [
    () => null,
    () => undefined,
    () => 1e308,
    () => 10n,
    () => Symbol("part"),
    () => "<user>[SEG]<keep_3>",
    () => circle,
    () => Object.create(null) as unknown,
    () => Array.from({ length: random(3) }, () => junk(random, depth + 1)),
    () => ({ role: junk(random, depth + 1), content: junk(random, depth + 1) }),
    () => ({ role: "user", content: junk(random, depth + 1) }),
    () => ({ role: "assistant", content: [{ type: "text", text: junk(random, depth + 1) }] }),
    () => ({ role: "user", content: [{ type: "image", image: junk(random, depth + 1) }] }),
    () => ({ role: "user", content: [{ type: "text", text: "hello" }] }),
    () => ({ type: "mask" }),
  ];
  return depth > 4 ? null : some[random(some.length)]?.();
}

describe("messages", () => {
  it("of any kind end in an answer or a typed error that is not `internal`", async () => {
    const setokim = await Setokim.load(url, { worker: false, cache: false });
    const codes = new Set<string>();
    for (let seed = 0; seed < 400; seed += 1) {
      const random = randoms(seed);
      const messages = Array.from({ length: random(3) }, () => junk(random)) as Message[];
      const stop = (random(2) === 0 ? undefined : junk(random)) as string[];
      try {
        await setokim.chat(seed % 9 === 0 ? (junk(random) as Message[]) : messages, { stop });
        codes.add("answered");
      } catch (error) {
        if (!(error instanceof SetokimError)) throw error;
        codes.add(error.code);
      }
    }
    expect([...codes].sort()).toEqual(["answered", "image-decode", "prompt-invalid", "setting-invalid"]);
    await setokim.dispose();
  });
});

describe("options", () => {
  const wrong: [options: Record<string, unknown>, name: string][] = [
    [{ seed: -1 }, "`seed`"],
    [{ seed: 1.5 }, "`seed`"],
    [{ seed: 2 ** 60 }, "`seed`"],
    [{ maxTokens: "5" }, "`maxTokens`"],
    [{ max_new_tokens: -5 }, "`max_new_tokens`"],
    [{ temperature: "hot" }, "`temperature`"],
    [{ temperature: Number.NaN }, "`temperature`"],
    [{ topK: 2 ** 40 }, "`topK`"],
    [{ topP: null }, "`topP`"],
    [{ stop: "." }, "`stop`"],
    [{ diffusion: 5 }, "`diffusion`"],
    [{ diffusion: { steps: 2.5 } }, "`diffusion.steps`"],
    [{ diffusion: { step: 2 } }, "`diffusion.step`"],
    [{ required: "yes" }, "`required`"],
    [{ signal: {} }, "`signal`"],
    [{ max_tokens: 5 }, "`max_tokens`"],
    [{ toString: 5 }, "`toString`"],
  ];

  it("of a wrong kind, or that there are not, are refused by name", async () => {
    await using setokim = await Setokim.load(url, { worker: false, cache: false });
    for (const [options, name] of wrong) {
      const refused = { code: "setting-invalid", message: expect.stringContaining(name) };
      await expect(setokim.chat([{ role: "user", content: "hello" }], options), name).rejects.toMatchObject(refused);
      await expect(setokim.edit(Uint8Array.of(1), "red", options), name).rejects.toMatchObject(refused);
    }
    for (const options of [null, 5, "fast", []]) {
      const none = options as unknown as object;
      const refused = { code: "setting-invalid" };
      await expect(setokim.generate("a cat", none), String(options)).rejects.toMatchObject(refused);
      await expect(setokim.tokenize(Uint8Array.of(1), none), String(options)).rejects.toMatchObject(refused);
      await expect(setokim.reconstruct(Uint8Array.of(1), none), String(options)).rejects.toMatchObject(refused);
      await expect(Setokim.load(url, none), String(options)).rejects.toMatchObject(refused);
      await expect(Setokim.probe(none), String(options)).rejects.toMatchObject(refused);
    }
    await setokim.chat([{ role: "user", content: "hello" }], { seed: undefined } as object);
  });

  it("of `load` and `probe` too, before anything is asked of the network", async () => {
    const names = { device: 1, dtype: true, onProgress: "x", worker: "no", cache: 1, warmUp: 1, wasmUrl: 5, tpu: true };
    for (const [name, value] of Object.entries(names)) {
      await expect(Setokim.load(url, { [name]: value }), name).rejects.toMatchObject({
        code: "setting-invalid",
        message: expect.stringContaining(`\`${name}\``),
      });
    }
    await expect(Setokim.probe({ device: "gpu" } as object)).rejects.toMatchObject({ code: "setting-invalid" });
    expect(server.requests).toEqual([]);
  });
});

describe("a model that is", () => {
  it.each([undefined, null, 5, {}, "", "  ", [5], [new Blob()], true])("%s is a typed error", async (source) => {
    await expect(Setokim.load(source as unknown as string, { worker: false })).rejects.toMatchObject({
      code: "setting-invalid",
      remedy: "Pass the address of the model's folder, or the files of that folder.",
    });
    expect(server.requests).toEqual([]);
  });
});

describe("pictures", () => {
  it("of too many bytes are not even read", async () => {
    const large = (128 << 20) + 1;
    const read = vi.fn();
    const blob = Object.assign(Object.create(null), { size: large, arrayBuffer: read, [Symbol.toStringTag]: "Blob" });
    await expect(imageFrom(blob as Blob)).rejects.toMatchObject({ code: "image-too-large" });
    expect(read).not.toHaveBeenCalled();
    await expect(imageFrom(new ArrayBuffer(large))).rejects.toMatchObject({ code: "image-too-large" });
    vi.stubGlobal("fetch", async () => new Response("x", { headers: { "content-length": String(large) } }));
    await expect(imageFrom("https://example.org/p.png")).rejects.toMatchObject({ code: "image-too-large" });
  });

  it("that are cut off are network errors", async () => {
    const body = new ReadableStream({ start: (controller) => controller.error(new TypeError("cut")) });
    vi.stubGlobal("fetch", async () => new Response(body));
    await expect(imageFrom("https://example.org/p.png")).rejects.toMatchObject({ code: "network" });
  });
});

describe("a browser without SIMD", () => {
  it("is told so, before anything is downloaded", async () => {
    vi.stubGlobal("WebAssembly", { ...WebAssembly, RuntimeError: WebAssembly.RuntimeError, validate: () => false });
    await expect(Setokim.load(url, { worker: false })).rejects.toMatchObject({
      code: "browser-unsupported",
      message: expect.stringContaining("SIMD"),
      remedy: expect.stringContaining("Safari from 16.4"),
    });
    expect(server.requests).toEqual([]);
  });

  it("is not what this one is taken for", async () => {
    await using setokim = await Setokim.load(url, { worker: false, cache: false });
    expect(setokim.device).toEqual(report);
  });
});
