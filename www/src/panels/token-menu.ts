import { colors } from "../colors.ts";
import type { Conversation } from "../conversation.ts";
import { element } from "../dom.ts";
import { type MenuEntry, openMenu, placeUnder } from "../menu.ts";
import { titleOf } from "../names.ts";
import type { Store } from "../state.ts";
import { type Request, requestsFor } from "../token-requests.ts";
import { modeNames } from "../transcript.ts";

/** What can be done with the token that was chosen: each entry is a request in plain words, sent or filled in. */
export function mountTokenMenu(store: Store, conversation: Conversation): void {
  const surface = element("surface", HTMLElement);
  const list = element("token-list", HTMLUListElement);
  const ask = ({ mode, prompt, open }: Request): void => {
    if (open === undefined) conversation.ask(mode, prompt);
    else store.set({ mode, draft: { prompt, open } });
  };

  const entriesFor = (id: number): MenuEntry[] => {
    const { tokens, tasks } = store.state;
    if (tokens === undefined || tasks?.includes("chat") !== true) return [];
    const { requests, recolor } = requestsFor(tokens, id);
    const items = requests.map((request): MenuEntry => {
      const { mode, prompt, open } = request;
      return {
        kind: modeNames[mode],
        label: open === undefined ? prompt : prompt.replace(open, "…"),
        run: () => ask(request),
      };
    });
    const swatches = recolor.map(({ color, request }) => ({
      label: request.prompt,
      color: colors[color],
      run: () => ask(request),
    }));
    return swatches.length === 0 ? items : [...items, { kind: "Colour", swatches }];
  };

  const open = (x: number, y: number): void => {
    const { tokens, pinned, status, answering } = store.state;
    if (tokens === undefined || pinned === undefined || status.kind !== "ready" || answering) return;
    const entries = entriesFor(pinned);
    if (entries.length > 0) openMenu(titleOf(tokens, pinned), entries, { x, y });
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
