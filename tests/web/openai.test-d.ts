/** Compile-only: the adapter's types beside those of the `openai` package, whose users can come as they are. */

import type OpenAI from "openai";
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionMessage,
  ChatCompletionParams,
  ChatCompletions,
} from "setokim/openai";

/** Our answers can go wherever theirs are expected. */
export function answers(completion: ChatCompletion, chunk: ChatCompletionChunk): void {
  completion satisfies OpenAI.ChatCompletion;
  chunk satisfies OpenAI.ChatCompletionChunk;
}

type Setting =
  | "model"
  | "max_tokens"
  | "max_completion_tokens"
  | "temperature"
  | "top_p"
  | "seed"
  | "stop"
  | "stream"
  | "stream_options";

/** Their settings and messages, of text and pictures, are ours. */
export function requests(
  settings: Pick<OpenAI.ChatCompletionCreateParams, Setting>,
  system: OpenAI.ChatCompletionSystemMessageParam | OpenAI.ChatCompletionDeveloperMessageParam,
  content: (OpenAI.ChatCompletionContentPartText | OpenAI.ChatCompletionContentPartImage)[],
  earlier: OpenAI.ChatCompletionMessage,
): ChatCompletionMessage[] {
  settings satisfies Omit<ChatCompletionParams, "messages">;
  return [system, { role: "user", content }, earlier];
}

/** What a chat interface needs of a client. */
interface Completions {
  create(params: Params & { stream: true }): Promise<AsyncIterable<OpenAI.ChatCompletionChunk>>;
  create(params: Params & { stream?: false }): Promise<OpenAI.ChatCompletion>;
}

interface Params extends Pick<OpenAI.ChatCompletionCreateParams, Exclude<Setting, "stream">> {
  messages: { role: "user"; content: string }[];
}

/** Their client is one, and so is ours. */
export function clients(theirs: OpenAI, ours: ChatCompletions): Completions[] {
  return [theirs.chat.completions, ours];
}
