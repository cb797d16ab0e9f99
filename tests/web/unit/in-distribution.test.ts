import { expect, it } from "vitest";
import { isInDistribution } from "../../../www/src/in-distribution.ts";

/** [patches, confidence, is it an object?] of each token */
const tokensOf = (...parts: [number, number, boolean][]) => ({
  tokens: parts.map(([patches], id) => ({ id, center: [0, 0] as [number, number], patches, score: 1 })),
  names: parts.map(([, confidence, isObject]) => ({ name: "x", color: null, confidence, isObject })),
});

it("knows a scene by its background, and by how much of it is clear", () => {
  expect(isInDistribution(tokensOf([240, 0.999, false], [16, 0.5, true]))).toBe(true); // one thing in doubt
  expect(isInDistribution(tokensOf([200, 0.98, false], [56, 0.999, true]))).toBe(false); // no background for sure
  expect(isInDistribution(tokensOf([100, 0.999, false], [156, 0.5, true]))).toBe(false); // most of it in doubt
  expect(isInDistribution(tokensOf([256, 0.999, true]))).toBe(false); // no background at all
  expect(isInDistribution({ ...tokensOf([256, 0.99, false]), names: null })).toBeUndefined();
});
