import { cssColor } from "setokim";
import { create, element } from "../dom.ts";
import type { Store } from "../state.ts";

/** What was found in the picture: colour and words, and a way to take it off again. */
export function mountLegend(store: Store): void {
  const list = element("legend", HTMLUListElement);
  store.on(["marks", "view"], ({ marks, view }) => {
    list.hidden = marks.length === 0 || view !== "tokens";
    list.replaceChildren(
      ...marks.map((mark) => {
        const remove = create("button", "legend-remove", "×");
        remove.type = "button";
        remove.setAttribute("aria-label", `Take off: ${mark.label}`);
        remove.addEventListener("click", () => {
          store.set({ marks: store.state.marks.filter((other) => other !== mark) });
        });
        const entry = create("li", "legend-entry", create("span", "legend-words", mark.label), remove);
        entry.style.setProperty("--color", cssColor(mark.color));
        return entry;
      }),
    );
  });
}
