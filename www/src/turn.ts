/** One turn of the conversation: what was asked, and what has come of it so far. Plain data; panels show it. */

import type {
  Answer,
  AnswerEvent,
  GeneratedImage,
  Message,
  MessagePart,
  SegmentationMask,
  Tokenization,
  Usage,
} from "setokim";
import type { GenerationSettings, Notice, OpenImage } from "./state.ts";
import type { Mode } from "./worlds/world.ts";

export interface Turn {
  readonly id: number;
  readonly mode: Mode;
  /** As the person wrote it, and as the model gets it. */
  readonly input: string;
  readonly prompt: string;
  /** What it is about, with its tokens if they were known; undefined for an image that is generated from text alone. */
  readonly image: OpenImage | undefined;
  readonly tokens: Tokenization | undefined;
  /** How its picture is drawn; undefined for a model that draws none. */
  readonly settings: GenerationSettings | undefined;
  readonly state: "running" | "done" | "stopped" | "failed";
  readonly text: string;
  /** For each visual token so far: the token of the picture that it copies, or null for a new one. */
  readonly visualTokens: readonly (number | null)[];
  readonly masks: readonly SegmentationMask[];
  readonly generated: GeneratedImage | undefined;
  /** What was generated, as an image that the page can show. */
  readonly result: OpenImage | undefined;
  readonly usage: Usage | undefined;
  /** From the press of the button to the end, in milliseconds. */
  readonly time: number | undefined;
  readonly answer: Message | undefined;
  readonly problem: Notice | undefined;
}

export type Question = Pick<Turn, "mode" | "input" | "image" | "tokens" | "settings">;

export function newTurn(id: number, { mode, input, image, tokens, settings }: Question): Turn {
  return {
    id,
    mode,
    input,
    prompt: promptFor(mode, input),
    image,
    tokens,
    settings,
    state: "running",
    text: "",
    visualTokens: [],
    masks: [],
    generated: undefined,
    result: undefined,
    usage: undefined,
    time: undefined,
    answer: undefined,
    problem: undefined,
  };
}

export function afterEvent(turn: Turn, event: AnswerEvent): Turn {
  switch (event.type) {
    case "text":
      return { ...turn, text: turn.text + event.text };
    case "visual-token":
      return { ...turn, visualTokens: [...turn.visualTokens.slice(0, event.index), event.copied] };
    case "mask":
      return { ...turn, masks: [...turn.masks, event.mask] };
    case "image":
      return { ...turn, generated: { image: event.image, tokens: event.tokens } };
    case "done":
      return { ...turn, usage: event.usage };
  }
}

export function afterAnswer(turn: Turn, answer: Answer, time: number): Turn {
  // The whole answer is the last word: an empty mask, for one, is none.
  const { text, masks, usage, message } = answer;
  return { ...turn, state: "done", text, masks, generated: answer.images.at(-1), usage, time, answer: message };
}

/** What the library's calls put before the words themselves, however it was typed. */
const verbs: Partial<Record<Mode, RegExp>> = {
  segment: /^(?:please\s+)?(?:segment|find|show me|mark|select)\s+/i,
  generate: /^(?:please\s+)?(?:draw|paint|generate|(?:make|create) (?:me )?an? (?:picture|image) of)\s+/i,
};

export function promptFor(mode: Mode, input: string): string {
  const verb = verbs[mode];
  return verb === undefined ? input : input.replace(verb, "");
}

/** The model was trained with a picture and a few short questions about it, so it is told no more than that. */
const CONTEXT_TURNS = 4;

/** The last questions about the picture of the last turn, with their answers; the picture comes first. */
export function messagesOf(turns: readonly Turn[]): Message[] {
  const last = turns.at(-1);
  if (last === undefined) return [];
  const about: Turn[] = [];
  for (const turn of turns.slice(0, -1).toReversed()) {
    if (turn.image !== last.image || about.length === CONTEXT_TURNS) break;
    if (turn.mode === "chat" && turn.answer !== undefined && turn.generated === undefined) about.unshift(turn);
  }
  const first: MessagePart[] = last.image === undefined ? [] : [{ type: "image", image: last.image.source }];
  return [...about, last].flatMap((turn, index): Message[] => {
    const content: MessagePart[] = [...(index === 0 ? first : []), { type: "text", text: turn.prompt }];
    return turn.answer === undefined ? [{ role: "user", content }] : [{ role: "user", content }, turn.answer];
  });
}
