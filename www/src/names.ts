import type { Tokenization } from "setokim";

/** Below it, the name is a guess that helps nobody: pictures from another world get names too. */
export const SURE = 0.35;

/** What a token most likely shows ("green bike"); undefined when the model cannot say. */
export function nameOf({ tokens, names }: Tokenization, id: number): string | undefined {
  const found = names?.[tokens.findIndex((token) => token.id === id)];
  if (found === undefined || found.confidence < SURE) return undefined;
  return found.color === null ? found.name : `${found.color} ${found.name}`;
}

/** Its name, else its number. */
export function titleOf(tokens: Tokenization, id: number): string {
  return nameOf(tokens, id) ?? `token ${id}`;
}
