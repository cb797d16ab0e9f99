import type { Tokenization, TokenName } from "setokim";

/** Below it, the name is a guess that helps nobody: pictures from another world get names too. */
export const SURE = 0.35;

/** What a token most likely shows; undefined when the model cannot say. */
export function confidentName({ tokens, names }: Tokenization, id: number): TokenName | undefined {
  const found = names?.[tokens.findIndex((token) => token.id === id)];
  return found === undefined || found.confidence < SURE ? undefined : found;
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
