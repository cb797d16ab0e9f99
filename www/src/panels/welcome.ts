import { create, element } from "../dom.ts";
import type { Engine } from "../engine.ts";
import { megabytes } from "../format.ts";
import type { Store } from "../state.ts";

/** The first visit: what this can and cannot, what will be downloaded, where it will run; nothing happens before it is asked for. */
export function mountWelcome(store: Store, engine: Engine): void {
  const box = element("welcome", HTMLElement);
  const size = element("welcome-size", HTMLElement);
  const verdict = element("welcome-verdict", HTMLElement);
  const { title, can } = store.state.world.welcome;
  element("welcome-title", HTMLElement).textContent = title;
  element("welcome-can", HTMLUListElement).replaceChildren(...can.map((line) => create("li", "", line)));
  const start = element("welcome-start", HTMLButtonElement);
  start.addEventListener("click", () => {
    element("stage", HTMLElement).focus(); // the button goes away
    void engine.load(store.state.choice);
  });
  store.on(["status"], ({ status }) => (box.hidden = status.kind !== "waiting"));
  store.on(["probe"], ({ probe }) => {
    if (probe === undefined) return;
    size.textContent = probe.download === null ? "The model" : megabytes(probe.download);
    verdict.textContent = probe.verdict;
    verdict.classList.toggle("doubt", probe.fits === false);
  });
}
