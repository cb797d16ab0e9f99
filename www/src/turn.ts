/** One turn of the conversation: what was asked, and what has come of it so far. Plain data; panels show it. */

import type {
  Answer,
  AnswerEvent,
  AnswerTask,
  Drawing,
  FoundMask,
  Message,
  MessagePart,
  Tokenization,
  Usage,
} from "setokim";
import type { DrawingSettings, Notice, OpenPicture } from "./state.ts";

export interface Turn {
  readonly id: number;
  readonly mode: AnswerTask;
  /** As it was typed, and as the model is told. */
  readonly typed: string;
  readonly words: string;
  /** What it is about, with its tokens if they were known; undefined for a picture that is drawn from words alone. */
  readonly picture: OpenPicture | undefined;
  readonly tokens: Tokenization | undefined;
  readonly settings: DrawingSettings;
  readonly state: "running" | "done" | "stopped" | "failed";
  readonly text: string;
  /** For each visual token so far: the token of the picture that it copies, or null for a new one. */
  readonly strokes: readonly (number | null)[];
  readonly masks: readonly FoundMask[];
  readonly drawing: Drawing | undefined;
  /** What was drawn, as a picture that the page can be about. */
  readonly result: OpenPicture | undefined;
  readonly usage: Usage | undefined;
  /** From the press of the button to the end, in milliseconds. */
  readonly time: number | undefined;
  readonly answer: Message | undefined;
  readonly problem: Notice | undefined;
}

export type Question = Pick<Turn, "mode" | "typed" | "picture" | "tokens" | "settings">;

export function newTurn(id: number, { mode, typed, picture, tokens, settings }: Question): Turn {
  return {
    id,
    mode,
    typed,
    words: wordsFor(mode, typed),
    picture,
    tokens,
    settings,
    state: "running",
    text: "",
    strokes: [],
    masks: [],
    drawing: undefined,
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
      return { ...turn, strokes: [...turn.strokes.slice(0, event.index), event.kept] };
    case "mask":
      return { ...turn, masks: [...turn.masks, event.mask] };
    case "image":
      return { ...turn, drawing: event.image };
    case "done":
      return { ...turn, usage: event.usage };
  }
}

export function afterAnswer(turn: Turn, answer: Answer, time: number): Turn {
  // The whole answer is the last word: an empty mask, for one, is none.
  const { text, masks, usage, message } = answer;
  return { ...turn, state: "done", text, masks, drawing: answer.images.at(-1), usage, time, answer: message };
}

/** What the library's calls put before the words themselves, however it was typed. */
const verbs: Partial<Record<AnswerTask, RegExp>> = {
  segment: /^(?:please\s+)?(?:segment|find|show me|mark|select)\s+/i,
  generate: /^(?:please\s+)?(?:draw|paint|generate|(?:make|create) (?:me )?an? (?:picture|image) of)\s+/i,
};

export function wordsFor(mode: AnswerTask, typed: string): string {
  const verb = verbs[mode];
  return verb === undefined ? typed : typed.replace(verb, "");
}

/** The model was trained with a picture and a few short questions about it, so it is told no more than that. */
const REMEMBERED = 4;

/** The last questions about the picture of the last turn, with their answers; the picture comes first. */
export function messagesOf(turns: readonly Turn[]): Message[] {
  const last = turns.at(-1);
  if (last === undefined) return [];
  const about: Turn[] = [];
  for (const turn of turns.slice(0, -1).toReversed()) {
    if (turn.picture !== last.picture || about.length === REMEMBERED) break;
    if (turn.mode === "chat" && turn.answer !== undefined && turn.drawing === undefined) about.unshift(turn);
  }
  const first: MessagePart[] = last.picture === undefined ? [] : [{ type: "image", image: last.picture.source }];
  return [...about, last].flatMap((turn, index): Message[] => {
    const content: MessagePart[] = [...(index === 0 ? first : []), { type: "text", text: turn.words }];
    return turn.answer === undefined ? [{ role: "user", content }] : [{ role: "user", content }, turn.answer];
  });
}
