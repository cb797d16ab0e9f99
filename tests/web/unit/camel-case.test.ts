import { expect, it } from "vitest";
import { camelCased } from "../../../pkg/src/camel-case.ts";

it("renames the keys of objects and lists all the way down, and nothing else", () => {
  const labels = Uint32Array.of(1, 2);
  const result = camelCased<Record<string, unknown>>({
    timings_ms: { preprocess: 1 },
    names: [{ name: "is_object", is_object: true, color: null }],
    max_storage_binding: 1,
    labels,
    none: undefined,
  });
  expect(result).toEqual({
    timingsMs: { preprocess: 1 },
    names: [{ name: "is_object", isObject: true, color: null }],
    maxStorageBinding: 1,
    labels,
    none: undefined,
  });
  expect(result["labels"]).toBe(labels); // the array itself, which is moved to the page and not copied
  for (const value of [null, undefined, 1, "a_b"]) expect(camelCased(value)).toBe(value);
});
