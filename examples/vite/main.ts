/** A picture and its semantic tokens, drawn over it. */

import { drawOverlay, Setokim } from "setokim";

const file = document.querySelector<HTMLInputElement>("#file")!;
const status = document.querySelector<HTMLElement>("#status")!;
const canvas = document.querySelector<HTMLCanvasElement>("#canvas")!;

const setokim = await Setokim.load("/models/setokim-tiny/", {
  onProgress: ({ fraction }) => (status.textContent = `Loading, ${Math.round(fraction * 100)} %`),
});
status.textContent = `Ready on the ${setokim.device.device}: choose a picture`;
file.disabled = false;

file.addEventListener("change", async () => {
  const [image] = file.files ?? [];
  if (image === undefined) return;
  const bitmap = await createImageBitmap(image);
  canvas.height = Math.round((canvas.width * bitmap.height) / bitmap.width);
  const context = canvas.getContext("2d")!;
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const tokens = await setokim.tokenize(image);
  drawOverlay(context, tokens);
  status.textContent = `${tokens.tokens.length} tokens`;
});
