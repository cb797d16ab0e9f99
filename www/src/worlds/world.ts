/** What the page says and offers, which depends on what the model has learned from. */

import type { AnswerTask, Task, Tokenization } from "setokim";
import type { ColorName } from "../colors.ts";
import type { WorldKind } from "../models.ts";

/** What a person chooses above the text box; a description is a question like others there. */
export type Mode = Exclude<AnswerTask, "describe">;

/** Words for the model, and what they are for. */
export interface Request {
  mode: Mode;
  prompt: string;
  /** The part of the words that the person is to choose. */
  open?: string;
}

/** What can be asked about one token. */
export interface TokenRequests {
  requests: Request[];
  /** One for each colour that it does not have; empty for a thing that has to stay as it is. */
  recolor: { color: ColorName; request: Request }[];
}

export interface Sample {
  /** In `models/samples/`. */
  file: string;
  name: string;
  /** Whose it is, where that must be said. */
  credit?: string;
}

export interface World {
  kind: WorldKind;
  /** What its models do as a rule, until one is loaded and says so itself. */
  tasks: readonly Task[];
  welcome: { title: string; can: readonly [string, string, string, string] };
  /** What each mode is for, and what stands in the text box while it is empty. */
  modes: Partial<Record<Mode, { about: string; placeholder: string }>>;
  /** Under the modes, before the first question. */
  about: string;
  open: string;
  /** How a person makes a picture of this world. */
  maker: "camera" | "scene";
  /** From which probability on a name is worth telling. */
  believable: number;
  /** Under the samples; the other one where a picture is not of this world. */
  hint: string;
  unfamiliar: string;
  samples: readonly Sample[];
  /** Whole requests that fit the picture, the most telling first; about the token that was chosen, if it shows a thing. */
  suggestions(mode: Mode, tokens: Tokenization | undefined, chosen: number | undefined): Request[];
  requestsFor(tokens: Tokenization, id: number): TokenRequests;
}
