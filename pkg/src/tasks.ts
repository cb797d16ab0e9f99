/** The public types of the tasks of a language model: what is asked, what happens while it is answered, and what comes of it. */

import type { Mask } from "./masks.js";
import type { ImageInput, Rect, RequestOptions } from "./types.js";

/** What a model can do; a model without a language model has only the first, or the first two. */
export type Task = "tokenize" | "reconstruct" | AnswerTask;

/** The tasks that need a language model. */
export type AnswerTask = "chat" | "describe" | "segment" | "generate" | "edit";

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

/** How the tokens of the text are sampled. Without any of these an answer is the same every time. */
export interface SamplingOptions extends RequestOptions {
  /** Tokens of the answer at the most, visual ones included. Default 256, or fewer where the model's context ends. */
  maxTokens?: number;
  /** The name in transformers.js for `maxTokens`, which counts where both are given. */
  max_new_tokens?: number;
  /** 0 (default) always takes the likeliest token; 1 samples as the model says. */
  temperature?: number;
  /** Samples among this many of the likeliest tokens; 0 (default) among all. */
  topK?: number;
  /** Samples among the fewest tokens that together have this probability, above 0 to 1. Default 1. */
  topP?: number;
  /** Above 1, tokens that have been there become less likely. Default 1. */
  repetitionPenalty?: number;
  /** The same seed gives the same answer, its images too. An integer from 0. Default 0. */
  seed?: number;
  /** The text ends before the first of these. */
  stop?: readonly string[];
}

/** How the diffusion head makes each visual token out of noise. Its seed is that of the request. */
export interface DiffusionOptions {
  /** Denoising steps a token, 1 to 1000. Default 25. */
  steps?: number;
  /** How closely an image keeps to the text, 0 to 100; 1 follows the model as it is. Default 2. */
  guidance?: number;
  /** Scale of the noise that a token begins with; 0 gives the same whatever the seed. Default 0.7. */
  temperature?: number;
}

/** What an edited image takes from the one before it. */
export interface CopyOptions {
  /** Whether tokens that stay may be copied instead of denoised anew. Default true. */
  copyTokens?: boolean;
  /** Whether pixels that belong to no changed token are the source image's own. Default true. */
  composite?: boolean;
}

export interface ChatOptions extends SamplingOptions, CopyOptions {
  diffusion?: DiffusionOptions;
}

export type DescribeOptions = SamplingOptions;

export interface SegmentOptions extends SamplingOptions {
  /** A mask in any case, even where the model would say that nothing matches. Default false. */
  required?: boolean;
}

export interface GenerateOptions extends SamplingOptions {
  /** An image in any case, even where the model would answer in text. Default false. */
  required?: boolean;
  diffusion?: DiffusionOptions;
}

export interface EditOptions extends GenerateOptions, CopyOptions {}

// --- what an answer is made of

/** A mask that the model answered with: the pixels of the image that was last shown. */
export interface SegmentationMask extends Mask {
  /** How sure the model is of it, 0 to 1. */
  score: number;
  /** Left, top, right and bottom edge of the mask in pixels of the image; null for an empty mask, which only `chat` gives. */
  box: [left: number, top: number, right: number, bottom: number] | null;
  /** Where the model is surest of it, in pixels of the image. */
  point: [x: number, y: number];
  /** The image's semantic tokens of which at least half lies in the mask. */
  tokens: { id: number; covered: number }[];
}

/** A token of an image that the model made. */
export interface GeneratedToken {
  /** The value that `labels` holds for its patches. */
  id: number;
  /** The token of the source image that it is an exact copy of; null when it is new. */
  copied: number | null;
  /** How many patches it covers. */
  patches: number;
}

/**
 * Which token covers which part of an image that the model made. All helpers take it in place of a tokenization. Where an
 * edit changed the pixels of a photograph there are no tokens, and `grid` is [0, 0].
 */
export interface GeneratedTokens {
  /** Pixels of the image. */
  image: { width: number; height: number };
  /** Patches, [rows, columns]. */
  grid: [rows: number, columns: number];
  /** The part of the image that the grid covers, in its pixels. */
  crop: Rect;
  /** The token of each patch, row by row; length rows * columns. */
  labels: Uint32Array;
  tokens: GeneratedToken[];
  /** Tokens of the source image that are gone. */
  removed: number[];
}

/** An image that the model made, with its tokens. */
export interface GeneratedImage {
  /** As large as the source image if it is an edit, else the model's own square. Transparent around what was cut out. */
  image: ImageData;
  tokens: GeneratedTokens;
}

export type AnswerPart =
  | { type: "text"; text: string }
  | { type: "mask"; mask: SegmentationMask }
  | ({ type: "image" } & GeneratedImage);

/** What an answer took. */
export interface Usage {
  /** Positions of everything that was asked, images included. */
  promptTokens: number;
  /** How many of them were still in the model's cache from the request before. */
  cachedTokens: number;
  /** Tokens of the answer; the visual ones are counted again in `visualTokens`. */
  answerTokens: number;
  visualTokens: number;
  /** Why it ended: the model was done, `maxTokens` were there, or a `stop` text came. */
  finish: "end" | "length" | "stop";
  /** Seconds of reading the prompt, sampling text, denoising visual tokens, making masks, and rendering pixels. */
  seconds: { prefill: number; decode: number; denoise: number; mask: number; render: number };
}

/** A whole answer. */
export interface Answer {
  /** All text of it. */
  text: string;
  masks: SegmentationMask[];
  images: GeneratedImage[];
  /** Everything, in order. */
  parts: AnswerPart[];
  usage: Usage;
  /** The answer as a turn, for the next `chat`: images that were made are in it as `ImageData`. */
  message: Message;
}

export interface SegmentAnswer extends Answer {
  /** Null when nothing in the image matches; `text` then says so. */
  mask: SegmentationMask | null;
}

/** `image` and `tokens` are null when the model answered in text, as to a prompt for something that it does not know. */
export type GenerateAnswer = Answer & (GeneratedImage | { image: null; tokens: null });

/** `image` and `tokens` are null when the model answered in text, as to an instruction about something absent. */
export type EditAnswer = Answer & (GeneratedImage | { image: null; tokens: null });

// --- what happens while it is made

export type AnswerEvent =
  /** More text, always whole characters. */
  | { type: "text"; text: string }
  /** Token `index` of the image being made is known: a copy of the source image's token `copied`, or a new one. */
  | { type: "visual-token"; index: number; copied: number | null }
  | { type: "mask"; mask: SegmentationMask }
  | ({ type: "image" } & GeneratedImage)
  /** The end; nothing follows. */
  | { type: "done"; usage: Usage };

export type ChatEvent = AnswerEvent;
export type DescribeEvent = Extract<AnswerEvent, { type: "text" | "done" }>;
export type SegmentEvent = Extract<AnswerEvent, { type: "text" | "mask" | "done" }>;
export type GenerateEvent = Extract<AnswerEvent, { type: "text" | "visual-token" | "image" | "done" }>;
export type EditEvent = Extract<AnswerEvent, { type: "text" | "visual-token" | "image" | "done" }>;
