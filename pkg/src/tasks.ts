/** The public types of the four tasks: what is asked, what happens while it is answered, and what comes of it. */

import type { Mask } from "./masks.js";
import type { ImageInput, Rect, RequestOptions } from "./types.js";

/** What a model can do; a model without a language model has only the first, or the first two. */
export type Task = "tokenize" | "reconstruct" | AnswerTask;

/** The tasks that need a language model. */
export type AnswerTask = "chat" | "segment" | "generate" | "edit";

// --- what is asked

export type Role = "user" | "assistant";

export type MessagePart =
  | { type: "text"; text: string }
  | { type: "image"; image: ImageInput }
  /** A mask that the model answered with; its pixels need not be told again. */
  | { type: "mask" };

/** One turn of a conversation. */
export interface Message {
  role: Role;
  content: string | readonly MessagePart[];
}

/** How words are chosen. Without any of these an answer is the same every time. */
export interface WordOptions extends RequestOptions {
  /** Tokens of the answer at the most, visual ones included. Default 256, or fewer where the model's context ends. */
  maxTokens?: number;
  /** 0 (default) always takes the likeliest word; 1 draws words as likely as the model finds them. */
  temperature?: number;
  /** Draws among this many of the likeliest words; 0 (default) among all. */
  topK?: number;
  /** Draws among the fewest words that together have this probability, above 0 to 1. Default 1. */
  topP?: number;
  /** Above 1, words that have been there become less likely. Default 1. */
  repetitionPenalty?: number;
  /** The same seed gives the same answer, its pictures too. A whole number from 0. Default 0. */
  seed?: number;
  /** The text ends before the first of these. */
  stop?: readonly string[];
}

/** How visual tokens are drawn. */
export interface DrawingOptions {
  /** Denoising steps a token, 1 to 1000. Default 25. */
  steps?: number;
  /** How closely a picture keeps to the words, 0 to 100; 1 draws as the model says. Default 2. */
  guidance?: number;
  /** Scale of the noise that a token begins with; 0 draws the same whatever the seed. Default 0.7. */
  noise?: number;
}

/** What an edited picture takes from the one before it. */
export interface KeepingOptions {
  /** Whether tokens that stay may be copied instead of drawn anew. Default true. */
  pointers?: boolean;
  /** Whether pixels that no changed token owns are the source picture's own. Default true. */
  paste?: boolean;
}

export interface ChatOptions extends WordOptions, DrawingOptions, KeepingOptions {}

export interface SegmentOptions extends WordOptions {
  /** A mask in any case, though the model would rather say that nothing matches. Default false. */
  insist?: boolean;
}

export interface GenerateOptions extends WordOptions, DrawingOptions {
  /** A picture in any case, though the model would rather say something. Default false. */
  insist?: boolean;
}

export interface EditOptions extends GenerateOptions, KeepingOptions {}

// --- what an answer is made of

/** A mask that the model found: the pixels of the picture that was last shown. */
export interface FoundMask extends Mask {
  /** How sure the model is of it, 0 to 1. */
  score: number;
  /** The picture's semantic tokens of which at least half lies in the mask. */
  tokens: { id: number; covered: number }[];
}

/** A token of a picture that the model drew. */
export interface DrawnToken {
  /** The value that `labels` holds for its patches. */
  id: number;
  /** The token of the source picture that it is an exact copy of; null when it is new. */
  kept: number | null;
  /** How many patches it drew. */
  patches: number;
}

/** A picture that the model drew, and which token drew which part of it. Takes the place of a tokenization in all helpers. */
export interface Drawing {
  /** As large as the source picture if it is an edit, else the model's own square. */
  image: ImageData;
  /** Patches, [rows, columns]. */
  grid: [rows: number, columns: number];
  /** The part of the picture that the grid covers, in its pixels. */
  crop: Rect;
  /** The token that drew each patch, row by row; length rows * columns. */
  labels: Uint32Array;
  tokens: DrawnToken[];
  /** Tokens of the source picture that are gone. */
  removed: number[];
}

export type AnswerPart =
  | { type: "text"; text: string }
  | { type: "mask"; mask: FoundMask }
  | { type: "image"; image: Drawing };

/** What an answer took. */
export interface Usage {
  /** Positions of everything that was asked, pictures included. */
  promptTokens: number;
  /** How many of them were still known from the request before. */
  rememberedTokens: number;
  /** Tokens of the answer; the visual ones are counted again in `visualTokens`. */
  answerTokens: number;
  visualTokens: number;
  /** Why it ended: the model was done, `maxTokens` were there, or a `stop` text came. */
  finish: "end" | "length" | "stop";
  /** Seconds of reading, choosing words, drawing tokens, masks, and painting pixels. */
  seconds: { prefill: number; decode: number; draw: number; mask: number; paint: number };
}

/** A whole answer. */
export interface Answer {
  /** All text of it. */
  text: string;
  masks: FoundMask[];
  images: Drawing[];
  /** Everything, in order. */
  parts: AnswerPart[];
  usage: Usage;
  /** The answer as a turn, for the next `chat`: pictures that were drawn are in it as `ImageData`. */
  message: Message;
}

export interface SegmentAnswer extends Answer {
  /** Null when nothing in the picture matches; `text` then says so. */
  mask: FoundMask | null;
}

export interface GenerateAnswer extends Answer {
  /** Null when the model answered in words, as to a prompt for something that it cannot draw. */
  image: Drawing | null;
}

export interface EditAnswer extends Answer {
  /** Null when the model answered in words, as to an instruction about something absent. */
  image: Drawing | null;
}

// --- what happens while it is made

export type AnswerEvent =
  /** More text, always whole characters. */
  | { type: "text"; text: string }
  /** Token `index` of the picture being drawn is known: a copy of the source picture's token `kept`, or a new one. */
  | { type: "visual-token"; index: number; kept: number | null }
  | { type: "mask"; mask: FoundMask }
  | { type: "image"; image: Drawing }
  /** The end; nothing follows. */
  | { type: "done"; usage: Usage };

export type ChatEvent = AnswerEvent;
export type SegmentEvent = Extract<AnswerEvent, { type: "text" | "mask" | "done" }>;
export type GenerateEvent = Extract<AnswerEvent, { type: "text" | "visual-token" | "image" | "done" }>;
export type EditEvent = Extract<AnswerEvent, { type: "text" | "visual-token" | "image" | "done" }>;
