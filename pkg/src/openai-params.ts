/** OpenAI's request -> ours. What has no counterpart is refused by its name, unless it asks for what is done anyway. */

import { SetokimError } from "./errors.js";
import type { ChatCompletionMessage, ChatCompletionParams, CompletionRequestOptions, ImageUrlPart } from "./openai.js";
import { checkOptions, isBoolean, isCount, isNumber, isSeed, isSignal, isTexts, type Kind, shown } from "./options.js";
import type { ChatOptions, Message, MessagePart } from "./tasks.js";

/** Null is as if it were not given, as in OpenAI's own API. */
const orNull =
  (kind: Kind): Kind =>
  (value) =>
    value === null ? undefined : kind(value);

/** Whatever it is, the answer is the same: who asks, what it costs, what is stored elsewhere. */
const anything: Kind = () => undefined;

/** Only what is done anyway. */
const only =
  (...values: unknown[]): Kind =>
  (value) =>
    value === null || values.some((each) => JSON.stringify(each) === JSON.stringify(value))
      ? undefined
      : `supported${values.map((each, at) => `${at === 0 ? ": only " : " or "}${JSON.stringify(each)}`).join("")}`;

const kinds: Record<string, Kind> = {
  messages: anything, // looked at one by one
  model: anything, // there is one
  stream: orNull(isBoolean),
  stream_options: orNull((value) => (typeof value === "object" ? undefined : "an object")),
  max_tokens: orNull(isCount),
  max_completion_tokens: orNull(isCount),
  temperature: orNull(isNumber),
  top_p: orNull(isNumber),
  seed: orNull(isSeed),
  stop: orNull((value) => (typeof value === "string" ? undefined : isTexts(value))),
  // Of no account for an answer that is made in the page.
  metadata: anything,
  moderation: anything,
  prompt_cache_key: anything,
  prompt_cache_options: anything,
  prompt_cache_retention: anything,
  safety_identifier: anything,
  service_tier: anything,
  user: anything,
  parallel_tool_calls: anything,
  // Not there, so nothing but their absence is understood.
  audio: only(),
  frequency_penalty: only(0),
  function_call: only("none", "auto"),
  functions: only([]),
  logit_bias: only({}),
  logprobs: only(false),
  modalities: only(["text"]),
  n: only(1),
  prediction: only(),
  presence_penalty: only(0),
  reasoning_effort: only("none"),
  response_format: only({ type: "text" }),
  store: only(false),
  tool_choice: only("none", "auto"),
  tools: only([]),
  top_logprobs: only(0),
  verbosity: only("medium"),
  web_search_options: only(),
};

/** Throws `setting-invalid` for settings, `prompt-invalid` and `unsupported` for messages. */
export function checkParams(params: ChatCompletionParams, options: CompletionRequestOptions): void {
  checkOptions(params, kinds);
  const streamOptions = params.stream_options ?? {};
  checkOptions(
    streamOptions,
    { include_usage: orNull(isBoolean), include_obfuscation: orNull(only(false)) },
    "stream_options",
  );
  checkOptions(options, { signal: orNull(isSignal) });
}

export function chatOptions(params: ChatCompletionParams, { signal }: CompletionRequestOptions): ChatOptions {
  const { temperature, top_p: topP, seed, stop } = params;
  const maxTokens = params.max_completion_tokens ?? params.max_tokens;
  return {
    ...(signal == null ? {} : { signal }),
    ...(maxTokens == null ? {} : { maxTokens }),
    ...(temperature == null ? {} : { temperature }),
    ...(topP == null ? {} : { topP }),
    ...(seed == null ? {} : { seed }),
    ...(stop == null ? {} : { stop: typeof stop === "string" ? [stop] : stop }),
  };
}

/** A message before it is known to be one. */
interface AnyMessage {
  role?: unknown;
  content?: unknown;
  images?: unknown;
}

export function chatMessages(messages: readonly ChatCompletionMessage[] | undefined): Message[] {
  if (!Array.isArray(messages)) throw wrong("`messages` is not a list");
  return messages.map((message: AnyMessage | null | undefined) => {
    const { role, content, images = [] } = message ?? {};
    if (!Array.isArray(images)) throw wrong("the `images` of a message are not a list");
    checkMessage(message);
    if (role === "system" || role === "developer") {
      throw new SetokimError(
        "unsupported",
        `a message has the role ${role}: the model was trained with no such messages`,
        {
          remedy: "Leave it out, or put its words into the user's message.",
        },
      );
    }
    if (role !== "user" && role !== "assistant") {
      throw wrong(`a message has the role ${shown(role)}, and neither "user" nor "assistant"`);
    }
    const isNone = content == null && role === "assistant";
    const parts = typeof content === "string" ? [{ type: "text", text: content }] : isNone ? [] : content;
    if (!Array.isArray(parts)) throw wrong("the content of a message is neither text nor a list of parts");
    return { role, content: [...parts, ...images].map(partFrom) };
  });
}

/** What else a message may have is null or empty unless tools or sound are in play. */
function checkMessage(message: object | null | undefined): void {
  const known = ["role", "content", "images", "refusal", "annotations"];
  for (const [key, value] of Object.entries(message ?? {})) {
    const isEmpty = value == null || (Array.isArray(value) && value.length === 0);
    if (!known.includes(key) && !isEmpty) throw wrong(`a message has \`${key}\`, which is not supported`);
  }
}

function partFrom(part: { type?: unknown } | null | undefined): MessagePart {
  switch (part?.type) {
    case "text":
      return { type: "text", text: textOf((part as { text?: unknown }).text) };
    case "refusal":
      return { type: "text", text: textOf((part as { refusal?: unknown }).refusal) };
    case "image_url":
      return imagePart((part as Partial<ImageUrlPart>).image_url?.url);
    default:
      throw wrong(`a part of a message has the type ${shown(part?.type)}, and neither "text" nor "image_url"`);
  }
}

function textOf(text: unknown): string {
  if (typeof text !== "string") throw wrong("the text of a message is not text");
  return text;
}

/** Nothing is fetched from elsewhere because somebody wrote an address into a chat. */
function imagePart(url: unknown): MessagePart {
  if (typeof url !== "string") throw wrong("an `image_url` is not an object with the text `url`");
  const base = typeof document === "undefined" ? globalThis.location?.href : document.baseURI;
  const { protocol, origin } = URL.canParse(url, base) ? new URL(url, base) : { protocol: "", origin: "" };
  const isHere = origin !== "null" && origin === globalThis.location?.origin;
  if (protocol !== "data:" && protocol !== "blob:" && !isHere) {
    throw wrong(
      "a picture must be a data: or blob: URL, or come from this page's origin",
      "Fetch the picture yourself and pass it as a data: URL.",
    );
  }
  return { type: "image", image: url };
}

function wrong(message: string, remedy?: string): SetokimError {
  return new SetokimError("prompt-invalid", message, { remedy });
}
