import type { ListedModel, WorldKind } from "../models.ts";

/**
 * The way from one world to the other, where the page has models of both. It is a link, so that an address says which model it
 * is about; the device that was asked for stays. Without both the style sheet hides it, before anything is laid out.
 */
export function mountWorlds(models: readonly ListedModel[], shown: WorldKind): void {
  for (const link of document.querySelectorAll<HTMLAnchorElement>("#worlds a")) {
    const model = models.find(({ kind }) => kind === link.dataset["world"]);
    if (model === undefined) continue;
    const address = new URL(location.href);
    address.searchParams.set("model", model.folder);
    link.href = address.href;
    if (model.kind === shown) link.setAttribute("aria-current", "page");
  }
}
