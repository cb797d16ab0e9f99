/** The conversation as a file: for people as Markdown, for programs as JSON. Pictures are named, not contained. */

import { maskToRle, type AnswerTask } from "setokim";
import { percent } from "./format.ts";
import { areaOf } from "./marks.ts";
import type { Turn } from "./turn.ts";

export const modeNames: Record<AnswerTask, string> = { chat: "Ask", segment: "Find", generate: "Draw", edit: "Edit" };

export function asMarkdown(turns: readonly Turn[], model: string): string {
  const parts = turns.map((turn) => {
    const about = turn.picture === undefined ? "" : `, about “${turn.picture.name}”`;
    return `**${modeNames[turn.mode]}**${about}: ${turn.typed}\n\n${answerIn(turn)}\n`;
  });
  return [`# A conversation with ${model}\n`, ...parts].join("\n");
}

function answerIn({ state, text, masks, drawing, problem }: Turn): string {
  if (problem !== undefined) return `*${problem.message}*`;
  const found = masks.map((mask) => `*(a mask: ${percent(areaOf(mask))} of the picture, ${percent(mask.score)} sure)*`);
  const drawn = drawing === undefined ? [] : [`*(a picture of ${drawing.tokens.length} tokens)*`];
  const stopped = state === "stopped" ? ["*(stopped)*"] : [];
  return [text, ...found, ...drawn, ...stopped].filter((part) => part !== "").join(" ");
}

export function asJson(turns: readonly Turn[], model: string): string {
  const plain = turns.map(({ mode, typed, words, picture, settings, state, text, masks, drawing, usage, time, problem }) => ({
    mode,
    typed,
    words,
    picture: picture?.name ?? null,
    settings,
    state,
    text,
    masks: masks.map((mask) => ({ ...maskToRle(mask), score: mask.score, tokens: mask.tokens })),
    drawing:
      drawing === undefined
        ? null
        : { grid: drawing.grid, labels: [...drawing.labels], tokens: drawing.tokens, removed: drawing.removed },
    usage: usage ?? null,
    milliseconds: time ?? null,
    problem: problem === undefined ? null : { code: problem.code, message: problem.message },
  }));
  return JSON.stringify({ model, turns: plain }, null, 2);
}
