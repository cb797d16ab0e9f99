import { element } from "../dom.ts";
import type { Engine } from "../engine.ts";
import { comparesEdits, offers, type Store, type View } from "../state.ts";

/** What is shown on the picture, and how strongly. */
export function mountToolbar(store: Store, engine: Engine): void {
  const views = document.querySelectorAll<HTMLInputElement>('input[name="view"]');
  for (const radio of views) {
    radio.addEventListener("change", () => {
      store.set({ view: radio.value as View });
      if (radio.value === "compare") void engine.reconstruct();
    });
  }
  const overlay = element("overlay-on", HTMLInputElement);
  overlay.addEventListener("change", () => store.set({ overlay: overlay.checked }));
  const opacity = element("opacity", HTMLInputElement);
  const value = element("opacity-value", HTMLOutputElement);
  opacity.addEventListener("input", () => store.set({ opacity: Number(opacity.value) / 100 }));
  store.on(["opacity"], (state) => {
    value.textContent = `${Math.round(state.opacity * 100)} %`;
    opacity.style.setProperty("--value", String(state.opacity));
  });
  const compare = element("view-compare", HTMLInputElement);
  const edit = element("view-edit", HTMLInputElement);
  store.on(["tasks", "image"], (state) => {
    showChoice(compare, offers(state, "reconstruct"));
    showChoice(edit, comparesEdits(state));
    edit.disabled ||= state.image?.before === undefined;
    const shown = { tokens: undefined, compare, edit }[state.view];
    if (shown?.disabled === true) store.set({ view: "tokens" });
  });
  store.on(["view", "overlay"], (state) => {
    for (const radio of views) radio.checked = radio.value === state.view;
    overlay.disabled = state.view !== "tokens";
    opacity.disabled = state.view !== "tokens" || !state.overlay;
    document.body.dataset["view"] = state.view;
  });
}

function showChoice(radio: HTMLInputElement, isOffered: boolean): void {
  radio.disabled = !isOffered;
  if (radio.parentElement !== null) radio.parentElement.hidden = !isOffered;
}
