import type { Tokenization, TokenName } from "setokim";

/** What a model calls that which it cannot tell, if it is one that says so. */
const UNSURE = "something";

/** Below it, a name is a guess that helps nobody: pictures from another world get names too. */
let believable = 0.35;

/** Said once, before anything is named: models differ in what their numbers mean. */
export function believeNamesFrom(confidence: number): void {
  believable = confidence;
}

/** What a token most likely shows; undefined when the model cannot say. */
export function confidentName({ tokens, names }: Tokenization, id: number): TokenName | undefined {
  const found = names?.[tokens.findIndex((token) => token.id === id)];
  return found !== undefined && isSure(found) ? found : undefined;
}

/** What the model is sure to see, things or backgrounds: the chosen token, then the most certain. */
export function surestNames(tokens: Tokenization | undefined, isObject: boolean, chosen?: number): TokenName[] {
  if (tokens === undefined || tokens.names === null) return [];
  const first = tokens.names[tokens.tokens.findIndex(({ id }) => id === chosen)];
  const sure = tokens.names.filter((found) => found.isObject === isObject && isSure(found));
  return sure.toSorted((a, b) => Number(b === first) - Number(a === first) || b.confidence - a.confidence);
}

function isSure({ name, confidence }: TokenName): boolean {
  return name !== UNSURE && confidence >= believable;
}

/** Its name in words ("green bike"). */
export function nameOf(tokens: Tokenization, id: number): string | undefined {
  const found = confidentName(tokens, id);
  if (found === undefined) return undefined;
  return found.color === null ? found.name : `${found.color} ${found.name}`;
}

/** Its name, else its number. */
export function titleOf(tokens: Tokenization, id: number): string {
  return nameOf(tokens, id) ?? `token ${id}`;
}

export function withArticle(name: string): string {
  return `${/^[aeiou]/.test(name) ? "an" : "a"} ${name}`;
}
