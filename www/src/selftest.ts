/** The page on which a person can see what works on a device, and copy it into a report. */

import { type DeviceChoice, Setokim, SetokimError } from "setokim";
import { element } from "./dom.ts";

const model = new URL("./models/setokim-tiny/", document.baseURI);
const sample = new URL("./models/samples/beach.png", document.baseURI);

const report = element("report", HTMLPreElement);
const status = element("status", HTMLElement);
const run = element("run", HTMLButtonElement);
const copy = element("copy", HTMLButtonElement);

function line(name: string, value: unknown): void {
  report.append(`${name.padEnd(28)} ${typeof value === "string" ? value : JSON.stringify(value)}\n`);
}

/** Does one thing and writes down how long it took, or why it failed. */
async function measure<T>(name: string, work: () => PromiseLike<T>): Promise<T | undefined> {
  status.textContent = `${name} …`;
  const start = performance.now();
  try {
    const result = await work();
    line(name, `ok, ${(performance.now() - start).toFixed(0)} ms`);
    return result;
  } catch (error) {
    line(name, error instanceof SetokimError ? `FAILED ${error.code}: ${error.message}` : `FAILED ${String(error)}`);
    return undefined;
  }
}

function describeBrowser(): void {
  line("browser", navigator.userAgent);
  line("language, cores", [navigator.language, navigator.hardwareConcurrency]);
  line("secure, isolated", [isSecureContext, crossOriginIsolated]);
  line("WebGPU", "gpu" in navigator);
  line("file system, caches, locks", [
    typeof navigator.storage?.getDirectory === "function",
    typeof caches !== "undefined",
    navigator.locks !== undefined,
  ]);
}

/** Every task on one device; the labels of the sample, to compare devices by. */
async function runOn(choice: DeviceChoice, image: Blob): Promise<string | undefined> {
  report.append(`\n--- device: ${choice}\n`);
  const setokim = await measure("load", () => Setokim.load(model, { device: choice, warmUp: true }));
  if (setokim === undefined) return undefined;
  const { device, reason, adapter, selfTest: kernels } = setokim.device;
  line("runs on", `${device} (${reason})`);
  line("adapter", adapter);
  line("kernels", kernels ?? "not run: there is no GPU");
  const question = {
    role: "user",
    content: [
      { type: "image", image: image },
      { type: "text", text: "what do you see?" },
    ],
  } as const;
  const tokens = await measure("tokenize", () => setokim.tokenize(image));
  await measure("tokenize again", () => setokim.tokenize(image));
  line("stages, ms", tokens?.timingsMs);
  await measure("reconstruct", () => setokim.reconstruct(image));
  const answer = await measure("chat", () => setokim.chat([{ ...question, content: [...question.content] }]));
  line("answer", answer?.text);
  line(
    "tokens per second",
    answer === undefined ? "" : (answer.usage.answerTokens / answer.usage.seconds.decode).toFixed(1),
  );
  await measure("segment", () => setokim.segment(image, "the biggest object"));
  await measure("generate", () => setokim.generate("a red apple on grass"));
  await measure("edit", () => setokim.edit(image, "remove the biggest object"));
  line("requests since the load", setokim.network.requests);
  await setokim.dispose();
  return tokens?.labels.join();
}

async function runAll(): Promise<void> {
  run.disabled = true;
  report.textContent = "";
  describeBrowser();
  const probe = await measure("probe", () => Setokim.probe());
  line("auto would take", probe);
  const image = await measure("sample picture", async () => (await fetch(sample)).blob());
  if (image !== undefined) {
    const onCpu = await runOn("cpu", image);
    // A GPU is tried even where `auto` would not take it, unless it would take minutes in software.
    const hasGpu =
      probe?.adapter != null && (!probe.adapter.software || new URLSearchParams(location.search).has("software"));
    if (hasGpu) {
      const onGpu = await runOn("gpu", image);
      report.append("\n");
      line("GPU and CPU agree", onGpu !== undefined && onGpu === onCpu);
    }
  }
  status.textContent = report.textContent?.includes("FAILED") === true ? "Done: something failed" : "Done";
  run.disabled = false;
  copy.disabled = false;
}

run.addEventListener("click", () => void runAll());
copy.addEventListener("click", () => {
  navigator.clipboard.writeText(report.textContent ?? "").then(
    () => (status.textContent = "Copied"),
    () => {
      // Without permission: the person copies what is selected.
      getSelection()?.selectAllChildren(report);
      status.textContent = "Selected: copy it with the keyboard";
    },
  );
});
