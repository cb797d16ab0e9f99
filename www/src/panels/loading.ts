import type { LoadProgress, LoadStage } from "setokim";
import { element } from "../dom.ts";
import type { Engine } from "../engine.ts";
import { megabytes } from "../format.ts";
import type { Store } from "../state.ts";

const words: Record<LoadStage, string> = {
  download: "Downloading the model",
  verify: "Checking the weights",
  upload: "Moving the weights to the device",
  compile: "Putting the model together",
  warmup: "Warming up",
  ready: "Ready",
};

/** The bar over the picture while the model loads, and the thin line while it works. */
export function mountLoading(store: Store, engine: Engine): void {
  const box = element("loading", HTMLElement);
  const what = element("loading-what", HTMLElement);
  const bytes = element("loading-bytes", HTMLElement);
  const bar = element("loading-bar", HTMLProgressElement);
  const busy = element("busy", HTMLElement);
  element("loading-stop", HTMLButtonElement).addEventListener("click", () => {
    engine.stopLoading();
    element("welcome-start", HTMLButtonElement).focus(); // the button goes away
  });
  store.on(["status", "answering"], ({ status, answering }) => {
    box.hidden = status.kind !== "loading";
    busy.hidden = status.kind !== "working" && !answering;
    if (status.kind !== "loading") return;
    const { progress } = status;
    what.textContent = progress === undefined ? "Starting" : wordsFor(progress);
    // Until the engine itself is there nobody knows how far it is: the bar only moves.
    if (progress === undefined) bar.removeAttribute("value");
    else bar.value = progress.fraction;
    // Of the download alone: what is checked and moved in between would seem to go back.
    if (progress === undefined) bytes.textContent = "";
    else if (progress.stage === "download" && progress.total > 0) {
      bytes.textContent = `${megabytes(progress.loaded)} of ${megabytes(progress.total)}`;
    }
  });
}

function wordsFor({ stage, cached }: LoadProgress): string {
  return stage === "download" && cached === true ? "Reading the model from this browser" : words[stage];
}
