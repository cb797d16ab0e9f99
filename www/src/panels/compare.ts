import { context2d, element } from "../dom.ts";
import { canvasFromImage } from "../image.ts";
import type { State, Store } from "../state.ts";

/** Two pictures and a line that can be moved between them: the picture and what its tokens hold of it, or the picture before
 *  an edit and the picture. */
export function mountCompare(store: Store): void {
  const box = element("compare", HTMLElement);
  const before = element("compare-before", HTMLCanvasElement);
  const after = element("compare-after", HTMLCanvasElement);
  const range = element("compare-range", HTMLInputElement);
  const labels = [element("compare-left", HTMLElement), element("compare-right", HTMLElement)] as const;

  const draw = ({ image, reconstruction, view }: State): void => {
    box.hidden = view === "tokens" || image === undefined;
    if (box.hidden || image === undefined) return;
    const { canvas } = image;
    const isEdit = view === "edit";
    labels[0].textContent = isEdit ? "Before" : "Picture";
    labels[1].textContent = isEdit ? "After" : "From tokens";
    range.setAttribute(
      "aria-label",
      `How much of the picture ${isEdit ? "before the edit " : ""}is shown, from the left`,
    );
    before.width = after.width = canvas.width;
    before.height = after.height = canvas.height;
    if (isEdit) {
      box.classList.remove("waiting");
      context2d(before).drawImage(image.before ?? canvas, 0, 0, canvas.width, canvas.height);
      context2d(after).drawImage(canvas, 0, 0);
      return;
    }
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

  const move = moveLine(box, range);
  const start = (value: string): void => {
    range.value = value;
    move();
  };
  // Both are seen at first, but of an edit that has just come all of it.
  store.on(["view"], () => start("50"));
  store.on(["image"], ({ view }) => {
    if (view === "edit") start("0");
  });
}

/** Lets a slider move the line between two pictures. */
export function moveLine(box: HTMLElement, range: HTMLInputElement): () => void {
  const move = (): void => box.style.setProperty("--at", `${range.value}%`);
  range.addEventListener("input", move);
  move();
  return move;
}
