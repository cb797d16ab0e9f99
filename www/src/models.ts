/** The models beside the page. The build writes them into the page (`data-models`), so that nothing is asked for to know. */

/** What a model has learned from, which is what it can be asked about. */
export type WorldKind = "photographs" | "drawn";

export interface ListedModel {
  /** Its folder in `models/`. */
  folder: string;
  kind: WorldKind;
}

/** Names of folders that may stand in an address. */
export const FOLDER = /^[\w.-]+$/;

/** Photographs first: the first model is the one that the page opens with. */
const kinds: readonly WorldKind[] = ["photographs", "drawn"];

/** Of a model's `config.json`: only our own small encoder has learned from drawn scenes. */
export function kindOf(config: unknown): WorldKind {
  const vision = (config as { vision?: { kind?: unknown } } | null)?.vision;
  return vision?.kind === "setokim-vit" ? "drawn" : "photographs";
}

/** `photo:photographs setokim-tiny:drawn`. */
export function modelsAsText(models: readonly ListedModel[]): string {
  const sorted = models.toSorted(
    (a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind) || a.folder.localeCompare(b.folder, "en"),
  );
  return sorted.map(({ folder, kind }) => `${folder}:${kind}`).join(" ");
}

export function modelsFromText(text: string): ListedModel[] {
  return text.split(" ").flatMap((entry) => {
    const [folder = "", name] = entry.split(":");
    const kind = kinds.find((known) => known === name);
    return kind === undefined || !FOLDER.test(folder) ? [] : [{ folder, kind }];
  });
}

/** The one that is asked for, else the first; of one that is not listed the kind is not known. */
export function chosenModel(
  models: readonly ListedModel[],
  asked: string | null,
): Partial<ListedModel> & { folder: string } {
  if (asked === null || !FOLDER.test(asked)) return models[0] ?? { folder: "setokim-tiny", kind: "drawn" };
  return models.find(({ folder }) => folder === asked) ?? { folder: asked };
}
