import { type AdapterReport, type CachedModel, type DeviceChoice, type Dtype, Setokim, type Usage } from "setokim";
import { create, element, textButton } from "../dom.ts";
import type { Engine } from "../engine.ts";
import { megabytes, milliseconds, sentence, whole } from "../format.ts";
import { describeWeights, precisions } from "../precision.ts";
import { savePreference } from "../preferences.ts";
import type { State, Store } from "../state.ts";

/** The order in which a picture passes through them. */
const stages = ["preprocess", "encode", "cluster", "merge", "detokenize"];

const answerStages: [stage: keyof Usage["seconds"], label: string][] = [
  ["prefill", "reading"],
  ["decode", "text"],
  ["denoise", "denoising"],
  ["mask", "mask"],
  ["render", "rendering"],
];

/** Which device runs the model and why, how long each stage took, what was loaded, and what is kept. */
export function mountBench(store: Store, engine: Engine): void {
  const chip = element("device-chip", HTMLButtonElement);
  const chipText = element("device-chip-text", HTMLElement);
  const select = element("device", HTMLSelectElement);
  const name = element("device-name", HTMLElement);
  const reason = element("device-reason", HTMLElement);

  const choose = (choice: Partial<Pick<State, "choice" | "dtype">>): void => {
    store.set(choice);
    // Before the first download it is only a choice.
    if (store.state.status.kind !== "waiting") void engine.load(store.state.choice);
  };
  select.addEventListener("change", () => choose({ choice: select.value as DeviceChoice }));
  mountPrecision(store, (dtype) => choose({ dtype }));
  chip.addEventListener("click", () => {
    element("bench", HTMLElement).scrollIntoView({ block: "nearest" });
    select.focus();
  });
  store.on(["status", "answering", "device", "choice"], ({ status, answering, device, choice }) => {
    select.value = choice;
    const label = device === undefined ? undefined : device.device === "gpu" ? "GPU" : "CPU";
    chip.dataset["state"] =
      status.kind === "failed"
        ? "failed"
        : status.kind === "waiting"
          ? "waiting"
          : answering || status.kind !== "ready"
            ? "busy"
            : "ready";
    chipText.textContent =
      status.kind === "failed"
        ? "Not running"
        : status.kind === "waiting"
          ? "Not started"
          : label === undefined
            ? "Loading"
            : `Runs on the ${label}`;
    name.textContent =
      label === undefined ? "–" : `${label}${device?.device === "gpu" ? adapterName(device.adapter) : ""}`;
    reason.textContent = sentence(device?.reason ?? "");
  });
  store.on(["model", "loadTime", "fromCache"], ({ model, loadTime, fromCache }) => {
    element("model-name", HTMLElement).textContent = model?.name ?? "–";
    element("model-size", HTMLElement).textContent =
      model === undefined ? "–" : `${megabytes(model.bytes)}${fromCache ? ", kept in this browser" : ""}`;
    element("model-time", HTMLElement).textContent = loadTime === undefined ? "–" : milliseconds(loadTime);
  });
  store.on(["status", "answering"], () => {
    element("model-memory", HTMLElement).textContent = engine.memory === undefined ? "–" : megabytes(engine.memory);
  });
  store.on(["timings"], ({ timings }) => {
    const stagesOf = Object.entries(timings ?? {}).filter(([stage]) => stage !== "total");
    showTimes(
      "picture-time",
      stagesOf.toSorted(([x], [y]) => rank(x) - rank(y)),
    );
  });
  store.on(["turns"], ({ turns }) => {
    const usage = turns.findLast((turn) => turn.usage !== undefined)?.usage;
    const taken = answerStages.map(([stage, label]): [string, number] => [label, 1000 * (usage?.seconds[stage] ?? 0)]);
    showTimes(
      "answer-time",
      taken.filter(([, time]) => time > 0),
    );
    element("answer-speed", HTMLElement).textContent = usage === undefined ? "–" : speedOf(usage);
  });
  mountCache(store);
}

/** What the weights are held in, remembered from visit to visit, and what they take. */
function mountPrecision(store: Store, choose: (dtype: Dtype) => void): void {
  const select = element("precision", HTMLSelectElement);
  let known = store.state.dtype;
  select.append(...Object.entries(precisions).map(([dtype, words]) => new Option(words, dtype)));
  select.addEventListener("change", () => choose(select.value as Dtype));
  store.on(["dtype"], ({ dtype }) => {
    select.value = dtype;
    if (dtype !== known) savePreference("precision", dtype);
    known = dtype;
  });
  store.on(["tasks"], ({ tasks }) => {
    select.disabled = tasks?.includes("chat") === false; // it is the language model's
  });
  store.on(["weights"], ({ weights }) => {
    element("weights-stored", HTMLElement).textContent = weights === undefined ? "–" : weights.stored.join(", ");
    element("weights-held", HTMLElement).textContent =
      weights === undefined ? "–" : `${megabytes(weights.memoryBytes)}, ${describeWeights(weights)}`;
  });
}

/** Of text only: a visual token takes many denoising steps. */
function speedOf({ answerTokens, visualTokens, seconds }: Usage): string {
  const textTokens = answerTokens - visualTokens;
  return textTokens > 0 && seconds.decode > 0 ? `${whole.format(textTokens / seconds.decode)} tokens/s` : "–";
}

/** The models in this browser's storage, and a way to get the room back. */
function mountCache(store: Store): void {
  const list = element("cache-list", HTMLUListElement);
  const empty = element("cache-empty", HTMLElement);
  const show = async (): Promise<void> => {
    const models = await Setokim.cache.list();
    list.replaceChildren(...models.map((model) => entry(model)));
    empty.hidden = models.length > 0;
  };
  const entry = ({ url, name, bytes }: CachedModel): HTMLLIElement => {
    const remove = textButton("Delete", () => {
      void Setokim.cache.delete(url).then(async () => {
        await show();
        store.set({ announcement: `${name} is deleted from this browser.` });
      });
    });
    remove.setAttribute("aria-label", `Delete ${name} from this browser`);
    return create("li", "", create("span", "", name), create("span", "num muted", megabytes(bytes)), remove);
  };
  store.on(["model"], () => void show());
}

/** Browsers may keep the name to themselves. */
function adapterName(adapter: AdapterReport | null): string {
  const name = adapter?.name || (adapter?.software === true ? "a software adapter" : "");
  return name === "" ? "" : ` · ${name}`;
}

/** One bar of its parts, and the parts by name; nothing before there is anything to show. */
function showTimes(id: string, entries: [stage: string, milliseconds: number][]): void {
  const box = element(id, HTMLElement);
  const total = entries.reduce((sum, [, time]) => sum + time, 0);
  const part = (selector: string): Element => box.querySelector(selector) ?? box;
  part(".time-sum").textContent = entries.length === 0 ? "–" : milliseconds(total);
  part(".time-bar").replaceChildren(
    ...entries.map(([stage, time], index) => {
      const bar = create("span", "time-part");
      bar.style.setProperty("flex-grow", String(Math.max(time / Math.max(total, 1e-9), 0.004)));
      bar.dataset["stage"] = String(index);
      bar.title = `${stage} ${milliseconds(time)}`;
      return bar;
    }),
  );
  part(".time-list").replaceChildren(
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
