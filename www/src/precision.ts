/** How exactly the language model's weights are held in memory: the page's words for the library's types. */

import type { Dtype, WeightTypes } from "setokim";
import { loadPreference } from "./preferences.ts";

export const precisions: Record<Dtype, string> = {
  stored: "As stored",
  f32: "32 bits",
  q8_0: "8 bits",
  q4_0: "4 bits",
};

/** What was chosen on an earlier visit. */
export function savedPrecision(): Dtype {
  const known = loadPreference("precision") ?? "";
  return known in precisions ? (known as Dtype) : "stored";
}

/** "as stored", "in 4 bits". */
export function describeWeights({ memory }: WeightTypes): string {
  return memory === "stored" ? "as stored" : `in ${precisions[memory]}`;
}
