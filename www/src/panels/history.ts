import { element } from "../dom.ts";
import type { Engine } from "../engine.ts";
import type { Store } from "../state.ts";

/** Undo and redo of the picture, by button and by keyboard; the conversation stays as it is. */
export function mountHistory(store: Store, engine: Engine): void {
  const undo = element("undo", HTMLButtonElement);
  const redo = element("redo", HTMLButtonElement);
  undo.addEventListener("click", () => void engine.step(-1));
  redo.addEventListener("click", () => void engine.step(1));
  store.on(["history"], ({ history: { images, at } }) => {
    for (const [button, to, word] of [
      [undo, images[at - 1], "Undo"],
      [redo, images[at + 1], "Redo"],
    ] as const) {
      // Not `disabled`: the keyboard keeps its place on the last step.
      button.setAttribute("aria-disabled", String(to === undefined));
      button.title = to === undefined ? word : `${word}: show “${to.name}”`;
    }
  });
  addEventListener("keydown", (event) => {
    const { key, ctrlKey, metaKey, shiftKey, altKey } = event;
    if (!(ctrlKey || metaKey) || altKey || key.toLowerCase() !== "z" || isTextInput(event.target)) return;
    event.preventDefault();
    void engine.step(shiftKey ? 1 : -1);
  });
}

/** Text has an undo of its own, and so has a dialog none. */
function isTextInput(target: EventTarget | null): boolean {
  if (!(target instanceof Element) || target.closest("dialog") !== null) return true;
  return target.matches("textarea, input:not([type=range], [type=radio], [type=checkbox], [type=file])");
}
