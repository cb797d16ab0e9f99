/** What a phrase means in a picture, as a mask over it. */

import { maskToImageBitmap, paletteColor, Setokim } from "setokim";

const form = /** @type {HTMLFormElement} */ (document.querySelector("#form"));
const file = /** @type {HTMLInputElement} */ (document.querySelector("#file"));
const phrase = /** @type {HTMLInputElement} */ (document.querySelector("#phrase"));
const status = /** @type {HTMLElement} */ (document.querySelector("#status"));
const canvas = /** @type {HTMLCanvasElement} */ (document.querySelector("#canvas"));

const loading = Setokim.load("/models/setokim-tiny/");
loading.then(
  () => (status.textContent = "Ready"),
  (error) => (status.textContent = `${error.message}. ${error.remedy}`),
);

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const image = file.files?.[0];
  const context = canvas.getContext("2d");
  if (image === undefined || context === null) return;
  const setokim = await loading;
  const { mask, text } = await setokim.segment(image, phrase.value);
  const bitmap = await createImageBitmap(image);
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  context.drawImage(bitmap, 0, 0);
  if (mask !== null) context.drawImage(await maskToImageBitmap(mask, paletteColor(0), 0.6), 0, 0);
  status.textContent = mask === null ? `Not found: ${text}` : `Found, ${Math.round(mask.score * 100)} % sure`;
});
