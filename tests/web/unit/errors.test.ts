import { describe, expect, it } from "vitest";
import { asSetokimError, errorFromMessage, errorToMessage, SetokimError } from "../../../pkg/src/errors.ts";
import { rustError } from "../fake-wasm.ts";

describe("SetokimError", () => {
  it("has a remedy for its code, or the one it is given", () => {
    expect(new SetokimError("network", "no").remedy).toMatch(/connection/);
    expect(new SetokimError("network", "no", { remedy: "Plug it in." }).remedy).toBe("Plug it in.");
  });

  it("is the same on the other side of a worker", () => {
    const error = new SetokimError("shard-corrupt", "shard `a` is corrupt", {
      remedy: "Again.",
      cause: new RangeError("too short"),
    });
    const arrived = errorFromMessage(structuredClone(errorToMessage(error)));
    expect(arrived).toBeInstanceOf(SetokimError);
    expect(arrived).toMatchObject({ name: "SetokimError", code: error.code, message: error.message, remedy: "Again." });
    expect(arrived.stack).toBe(error.stack);
    expect(arrived.cause).toMatchObject({ name: "RangeError", message: "too short" });
  });

  it("keeps the code and the remedy of an error from Rust", () => {
    const error = asSetokimError(rustError("not-finite", "the features hold NaN", "Check the weights."));
    expect(error).toMatchObject({ code: "not-finite", message: "the features hold NaN", remedy: "Check the weights." });
  });

  it("gives a trap the words that Rust left, once, and tells want of memory from other ends", () => {
    const scope = globalThis as { setokimPanic?: string };
    scope.setokimPanic = "panicked at src/x.rs:1:2: index out of bounds";
    const trap = new WebAssembly.RuntimeError("unreachable");
    const error = asSetokimError(trap);
    expect(error).toMatchObject({
      code: "crashed",
      message: expect.stringContaining("index out of bounds"),
      cause: trap,
    });
    expect(asSetokimError(trap).message).not.toContain("index");
    scope.setokimPanic = "panicked at compute.rs: wgpu error: Out of Memory";
    expect(asSetokimError(trap)).toMatchObject({
      code: "out-of-memory",
      remedy: expect.stringContaining("smaller model"),
    });
  });

  it("tells a trap from a bug", () => {
    expect(asSetokimError(new WebAssembly.RuntimeError("unreachable")).code).toBe("crashed");
    expect(asSetokimError(new TypeError("x is undefined")).code).toBe("internal");
    expect(asSetokimError("just a string").message).toBe("just a string");
    expect(asSetokimError(Object.assign(new Error("no"), { code: "ENOENT" })).code).toBe("internal");
  });
});
