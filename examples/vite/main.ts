/** A picture and its semantic tokens, drawn over it. */

import { drawOverlay, Setokim } from "setokim";

const file = document.querySelector<HTMLInputElement>("#file")!;
const said = document.querySelector<HTMLElement>("#said")!;
const canvas = document.querySelector<HTMLCanvasElement>("#canvas")!;

const setokim = await Setokim.load("/models/setokim-tiny/", {
  onProgress: ({ fraction }) => (said.textContent = `Loading, ${Math.round(fraction * 100)} %`),
});
said.textContent = `Ready on the ${setokim.device.device}: choose a picture`;
file.disabled = false;

file.addEventListener("change", async () => {
  const [picture] = file.files ?? [];
  if (picture === undefined) return;
  const bitmap = await createImageBitmap(picture);
  canvas.height = Math.round((canvas.width * bitmap.height) / bitmap.width);
  const context = canvas.getContext("2d")!;
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const tokens = await setokim.tokenize(picture);
  drawOverlay(context, tokens);
  said.textContent = `${tokens.tokens.length} tokens`;
});
