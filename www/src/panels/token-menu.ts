import { colors } from "../colors.ts";
import type { Conversation } from "../conversation.ts";
import { element } from "../dom.ts";
import { percent } from "../format.ts";
import { type MenuEntry, openMenu, placeUnder } from "../menu.ts";
import { confidentName, titleOf } from "../names.ts";
import { modesOf, type Store } from "../state.ts";
import { modeNames } from "../transcript.ts";

/** What can be done with the token that was chosen: each entry is a request in plain words, sent or filled in. */
export function mountTokenMenu(store: Store, conversation: Conversation): void {
  const surface = element("surface", HTMLElement);
  const list = element("token-list", HTMLUListElement);

  const entriesFor = (id: number): MenuEntry[] => {
    const { tokens, world } = store.state;
    if (tokens === undefined) return [];
    const offered = modesOf(store.state);
    const { requests, recolor } = world.requestsFor(tokens, id);
    const items = requests
      .filter(({ mode }) => offered.includes(mode))
      .map((request): MenuEntry => {
        const { mode, prompt, open } = request;
        return {
          kind: modeNames[mode],
          label: open === undefined ? prompt : prompt.replace(open, "…"),
          run: () => conversation.request(request),
        };
      });
    const swatches = (offered.includes("edit") ? recolor : []).map(({ color, request }) => ({
      label: request.prompt,
      color: colors[color],
      run: () => conversation.request(request),
    }));
    return swatches.length === 0 ? items : [...items, { kind: "Colour", swatches }];
  };

  const open = (x: number, y: number): void => {
    const { tokens, pinned, status, answering } = store.state;
    if (tokens === undefined || pinned === undefined || status.kind !== "ready" || answering) return;
    const entries = entriesFor(pinned);
    const found = confidentName(tokens, pinned);
    const sure = found === undefined ? "" : `, ${percent(found.confidence)} sure`;
    if (entries.length > 0) openMenu(`${titleOf(tokens, pinned)}${sure}`, entries, { x, y });
  };

  surface.addEventListener("click", ({ clientX, clientY }) => open(clientX + 8, clientY + 8));
  surface.addEventListener("keydown", ({ key }) => {
    const { x, y } = placeUnder(element("tag", HTMLElement));
    if (key === "Enter" || key === " ") open(x, y);
  });
  list.addEventListener("keydown", ({ key }) => {
    const row = list.querySelector('[aria-selected="true"]');
    if (row === null || (key !== "Enter" && key !== " ")) return;
    const { x, y } = placeUnder(row);
    open(x, y);
  });
}
