import type { DeviceChoice } from "setokim";
import { create, element } from "../dom.ts";
import type { Engine } from "../engine.ts";
import { megabytes, milliseconds, sentence } from "../format.ts";
import type { State, Store } from "../state.ts";

/** The order in which a picture passes through them. */
const stages = ["preprocess", "encode", "cluster", "merge", "detokenize"];

/** Which device runs the model and why, how long each stage took, what was loaded. */
export function mountBench(store: Store, engine: Engine): void {
  const chip = element("device-chip", HTMLButtonElement);
  const chipText = element("device-chip-text", HTMLElement);
  const select = element("device", HTMLSelectElement);
  const name = element("device-name", HTMLElement);
  const reason = element("device-reason", HTMLElement);

  select.addEventListener("change", () => void engine.load(select.value as DeviceChoice));
  chip.addEventListener("click", () => {
    element("bench", HTMLElement).scrollIntoView({ block: "nearest" });
    select.focus();
  });
  store.on(["status", "answering", "device", "choice"], ({ status, answering, device, choice }) => {
    select.value = choice;
    const label = device === undefined ? undefined : device.device === "gpu" ? "GPU" : "CPU";
    chip.dataset["state"] =
      status.kind === "failed" ? "failed" : answering || status.kind !== "ready" ? "busy" : "ready";
    chipText.textContent =
      status.kind === "failed" ? "Not running" : label === undefined ? "Loading" : `Runs on the ${label}`;
    name.textContent = label === undefined ? "–" : `${label}${device?.device === "gpu" ? adapterName(device.adapter) : ""}`;
    reason.textContent = sentence(device?.reason ?? "");
  });
  store.on(["model", "loadTime", "fromCache"], ({ model, loadTime, fromCache }) => {
    element("model-name", HTMLElement).textContent = model?.name ?? "–";
    element("model-size", HTMLElement).textContent =
      model === undefined ? "–" : `${megabytes(model.bytes)}${fromCache ? ", kept in this browser" : ""}`;
    element("model-time", HTMLElement).textContent = loadTime === undefined ? "–" : milliseconds(loadTime);
  });
  store.on(["timings"], showTimes);
}

function adapterName(adapter: { name: string } | null): string {
  return adapter === null || adapter.name === "" ? "" : ` · ${adapter.name}`;
}

function showTimes({ timings }: State): void {
  const bar = element("time-bar", HTMLElement);
  const list = element("time-list", HTMLElement);
  const entries = Object.entries(timings ?? {}).filter(([stage]) => stage !== "total");
  entries.sort(([a], [b]) => rank(a) - rank(b));
  const total = entries.reduce((sum, [, time]) => sum + time, 0);
  element("time-total", HTMLElement).textContent = timings === undefined ? "–" : milliseconds(total);
  bar.replaceChildren(
    ...entries.map(([stage, time], index) => {
      const part = create("span", "time-part");
      part.style.setProperty("flex-grow", String(Math.max(time / Math.max(total, 1e-9), 0.004)));
      part.dataset["stage"] = String(index);
      part.title = `${stage} ${milliseconds(time)}`;
      return part;
    }),
  );
  list.replaceChildren(
    ...entries.map(([stage, time], index) => {
      const dot = create("span", "time-dot");
      dot.dataset["stage"] = String(index);
      return create("li", "", dot, stage, create("span", "num", milliseconds(time)));
    }),
  );
}

function rank(stage: string): number {
  const at = stages.indexOf(stage);
  return at < 0 ? stages.length : at;
}
