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
  content: (OpenAI.ChatCompletionContentPartText | OpenAI.ChatCompletionContentPartImage)[],
  said: (OpenAI.ChatCompletionContentPartText | OpenAI.ChatCompletionContentPartRefusal)[],
  earlier: OpenAI.ChatCompletionMessage,
): ChatCompletionMessage[] {
  settings satisfies Omit<ChatCompletionParams, "messages">;
  return [{ role: "user", content }, earlier, { role: "assistant", content: said }];
}

/** Of what we refuse, TypeScript says so first; what their package learns anew, this does not know and fails. */
type Known = Setting | "messages" | Refused | Ignored;
type Refused =
  | "audio"
  | "frequency_penalty"
  | "function_call"
  | "functions"
  | "logit_bias"
  | "logprobs"
  | "modalities"
  | "n"
  | "prediction"
  | "presence_penalty"
  | "reasoning_effort"
  | "response_format"
  | "store"
  | "tool_choice"
  | "tools"
  | "top_logprobs"
  | "verbosity"
  | "web_search_options";
type Ignored =
  | "metadata"
  | "moderation"
  | "parallel_tool_calls"
  | "prompt_cache_key"
  | "prompt_cache_options"
  | "prompt_cache_retention"
  | "safety_identifier"
  | "service_tier"
  | "user";
type Unknown = Exclude<keyof OpenAI.ChatCompletionCreateParams, Known>;
export const none: [Unknown] extends [never] ? true : Unknown = true;

export function refusals(ours: ChatCompletions): void {
  const messages = [{ role: "user", content: "hello" } as const];
  // @ts-expect-error: one answer only
  void ours.create({ messages, n: 2 });
  // @ts-expect-error: no JSON mode
  void ours.create({ messages, response_format: { type: "json_object" } });
  // @ts-expect-error: no such messages
  void ours.create({ messages: [{ role: "system", content: "You are a pirate." }] });
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
