/** The names of the things in a picture. esbuild is told where the worker and the wasm are: see build.mjs. */

import { Setokim } from "setokim";

const file = document.querySelector<HTMLInputElement>("#file")!;
const status = document.querySelector<HTMLElement>("#status")!;

const setokim = await Setokim.load("/models/setokim-tiny/", {
  workerUrl: new URL("worker.js", import.meta.url),
  wasmUrl: new URL("setokim_bg.wasm", import.meta.url),
});
status.textContent = `Ready on the ${setokim.device.device}: choose a picture`;
file.disabled = false;

file.addEventListener("change", async () => {
  const [image] = file.files ?? [];
  if (image === undefined) return;
  const { tokens, names } = await setokim.tokenize(image);
  const known = names?.filter(({ isObject }) => isObject).map(({ name }) => name) ?? [];
  status.textContent = `${tokens.length} tokens${known.length === 0 ? "" : `: ${known.join(", ")}`}`;
});
