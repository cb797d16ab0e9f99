const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
const file = document.querySelector<HTMLInputElement>("#file")!;
const status = document.querySelector<HTMLElement>("#status")!;

file.addEventListener("change", () => {
  status.textContent = "Looking";
  worker.postMessage(file.files?.[0]);
});
worker.addEventListener("message", ({ data }: MessageEvent<string>) => (status.textContent = data));
