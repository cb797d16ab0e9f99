import { element } from "../dom.ts";
import type { Engine } from "../engine.ts";
import type { Store, View } from "../state.ts";

/** What is shown on the picture, and how strongly. */
export function mountToolbar(store: Store, engine: Engine): void {
  for (const radio of document.querySelectorAll<HTMLInputElement>('input[name="view"]')) {
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
  store.on(["model"], ({ model }) => {
    // A bare vision tower has nothing to draw with.
    const compare = document.querySelector<HTMLInputElement>('input[name="view"][value="compare"]');
    if (compare !== null) compare.disabled = model !== undefined && model.config["detokenizer"] == null;
  });
  store.on(["view", "overlay"], (state) => {
    overlay.disabled = state.view !== "tokens";
    opacity.disabled = state.view !== "tokens" || !state.overlay;
    document.body.dataset["view"] = state.view;
  });
}
