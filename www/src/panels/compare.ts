import { context2d, element } from "../dom.ts";
import { canvasFromImage } from "../image.ts";
import type { State, Store } from "../state.ts";

/** The picture on the left of a line that can be moved, what its tokens hold of it on the right. */
export function mountCompare(store: Store): void {
  const box = element("compare", HTMLElement);
  const before = element("compare-before", HTMLCanvasElement);
  const after = element("compare-after", HTMLCanvasElement);
  const range = element("compare-range", HTMLInputElement);

  const draw = ({ image, reconstruction, view }: State): void => {
    box.hidden = view !== "compare" || image === undefined;
    if (box.hidden || image === undefined) return;
    const { canvas } = image;
    before.width = after.width = canvas.width;
    before.height = after.height = canvas.height;
    context2d(before).drawImage(canvas, 0, 0);
    box.classList.toggle("waiting", reconstruction === undefined);
    if (reconstruction === undefined) return;
    const { image: again, tokens } = reconstruction;
    const scaleX = canvas.width / tokens.image.width;
    const scaleY = canvas.height / tokens.image.height;
    const { x, y, width, height } = tokens.crop;
    const context = context2d(after);
    context.imageSmoothingQuality = "high";
    context.drawImage(canvasFromImage(again), x * scaleX, y * scaleY, width * scaleX, height * scaleY);
  };
  store.on(["view", "image", "reconstruction"], draw);

  moveLine(box, range);
}

/** Lets a slider move the line between two pictures. */
export function moveLine(box: HTMLElement, range: HTMLInputElement): void {
  const move = (): void => box.style.setProperty("--at", `${range.value}%`);
  range.addEventListener("input", move);
  move();
}
