import { cssColor } from "setokim";
import { create, element } from "../dom.ts";
import type { Store } from "../state.ts";

/** The masks over the picture: colour and label, and a way to take it off again. */
export function mountLegend(store: Store): void {
  const list = element("legend", HTMLUListElement);
  store.on(["maskOverlays", "view"], ({ maskOverlays, view }) => {
    list.hidden = maskOverlays.length === 0 || view !== "tokens";
    list.replaceChildren(
      ...maskOverlays.map((overlay) => {
        const remove = create("button", "legend-remove", "×");
        remove.type = "button";
        remove.setAttribute("aria-label", `Take off: ${overlay.label}`);
        remove.addEventListener("click", () => {
          store.set({ maskOverlays: store.state.maskOverlays.filter((other) => other !== overlay) });
        });
        const entry = create("li", "legend-entry", create("span", "legend-words", overlay.label), remove);
        entry.style.setProperty("--color", cssColor(overlay.color));
        return entry;
      }),
    );
  });
}
