/** The conversation as a file: for people as Markdown, for programs as JSON. Pictures are named, not contained. */

import { type GeneratedImage, maskToRle } from "setokim";
import { count, percent } from "./format.ts";
import { areaOf } from "./mask-overlay.ts";
import type { Turn } from "./turn.ts";
import type { Mode } from "./worlds/world.ts";

export const modeNames: Record<Mode, string> = { chat: "Ask", segment: "Find", generate: "Draw", edit: "Edit" };

/** A photograph whose pixels were changed has no tokens. */
export function describeImage({ tokens: { tokens } }: GeneratedImage): string {
  return tokens.length === 0 ? "a picture" : `a picture of ${count(tokens.length, "token")}`;
}

export function asMarkdown(turns: readonly Turn[], model: string): string {
  const parts = turns.map((turn) => {
    const about = turn.image === undefined ? "" : `, about “${turn.image.name}”`;
    return `**${modeNames[turn.mode]}**${about}: ${turn.input}\n\n${answerIn(turn)}\n`;
  });
  return [`# A conversation with ${model}\n`, ...parts].join("\n");
}

function answerIn({ state, text, masks, generated, problem }: Turn): string {
  if (problem !== undefined) return `*${problem.message}*`;
  const masked = masks.map(
    (mask) => `*(a mask: ${percent(areaOf(mask))} of the picture, ${percent(mask.score)} sure)*`,
  );
  const image = generated === undefined ? [] : [`*(${describeImage(generated)})*`];
  const stopped = state === "stopped" ? ["*(stopped)*"] : [];
  return [text, ...masked, ...image, ...stopped].filter((part) => part !== "").join(" ");
}

export function asJson(turns: readonly Turn[], model: string): string {
  const plain = turns.map(
    ({ mode, input, prompt, image, settings, state, text, masks, generated, usage, time, problem }) => ({
      mode,
      input,
      prompt,
      image: image?.name ?? null,
      settings: settings ?? null,
      state,
      text,
      masks: masks.map((mask) => ({
        ...maskToRle(mask),
        score: mask.score,
        box: mask.box,
        point: mask.point,
        tokens: mask.tokens,
      })),
      generated: generated === undefined ? null : { ...generated.tokens, labels: [...generated.tokens.labels] },
      usage: usage ?? null,
      milliseconds: time ?? null,
      problem: problem === undefined ? null : { code: problem.code, message: problem.message },
    }),
  );
  return JSON.stringify({ model, turns: plain }, null, 2);
}
