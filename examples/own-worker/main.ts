const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
const file = document.querySelector<HTMLInputElement>("#file")!;
const said = document.querySelector<HTMLElement>("#said")!;

file.addEventListener("change", () => {
  said.textContent = "Looking";
  worker.postMessage(file.files?.[0]);
});
worker.addEventListener("message", ({ data }: MessageEvent<string>) => (said.textContent = data));
