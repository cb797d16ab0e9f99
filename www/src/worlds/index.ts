import { kindOf, type WorldKind } from "../models.ts";
import { drawn } from "./drawn.ts";
import { photographs } from "./photographs.ts";
import type { World } from "./world.ts";

export const worlds: Record<WorldKind, World> = { photographs, drawn };

/** The world of a model that was not there when the page was built; the drawn one where there is no such model either. */
export async function worldAt(modelUrl: string): Promise<World> {
  try {
    const response = await fetch(`${modelUrl}config.json`);
    return worlds[kindOf(await response.json())];
  } catch {
    return drawn;
  }
}
