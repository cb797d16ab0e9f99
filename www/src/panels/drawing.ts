/** A picture that the model drew: its tokens, what it kept of the one before, and what can be done with it. */

import { cssColor, drawOverlay, paletteColor, type Color, type DrawnToken, type Drawing } from "setokim";
import { context2d, create, savePng, textButton } from "../dom.ts";
import { count, fileName } from "../format.ts";
import { nameOf } from "../names.ts";
import { canvasFromImage, scaled } from "../picture.ts";
import type { OpenPicture } from "../state.ts";
import type { Turn } from "../turn.ts";
import { moveLine } from "./compare.ts";

export interface DrawingActions {
  /** Makes it the picture that the page is about. */
  use(picture: OpenPicture): void;
  /** Asks once more, with another seed. */
  again(turn: Turn): void;
}

/** Pixels of the longer side, at twice the density of the page. */
const SIZE = 560;

/** Kept tokens step back, so that new ones stand out. */
const KEPT: Color = { r: 150, g: 152, b: 162 };

/** The place of a picture whose tokens are still coming. */
export function strokesFigure({ strokes, picture, mode }: Turn): HTMLElement {
  const frame = create("div", "drawn-frame waiting");
  frame.style.setProperty("aspect-ratio", mode === "edit" && picture !== undefined ? aspectOf(picture.canvas) : "1");
  const dots = strokes.map((kept, id) => dot({ id, kept }, kept === null ? "new" : "kept"));
  frame.append(create("div", "drawn-progress", ...dots));
  return create("figure", "drawn", frame, create("figcaption", "num", strokes.length === 0 ? "Drawing …" : `Token ${strokes.length} …`));
}

export function drawingFigure(turn: Turn, drawing: Drawing, actions: DrawingActions): HTMLElement {
  const after = scaled(canvasFromImage(drawing.image), SIZE);
  const tokens = tokensOver(drawing, after);
  const frame = create("div", "drawn-frame", after, tokens);
  frame.style.setProperty("aspect-ratio", aspectOf(after));
  const isEdit = turn.mode === "edit" || drawing.tokens.some(({ kept }) => kept !== null);
  if (isEdit && turn.picture !== undefined) frame.append(...before(frame, turn.picture));
  else {
    after.setAttribute("role", "img");
    after.setAttribute("aria-label", `A picture of: ${turn.words}`);
  }

  const showTokens = textButton("Tokens", () => {
    const on = showTokens.getAttribute("aria-pressed") !== "true";
    showTokens.setAttribute("aria-pressed", String(on));
    tokens.classList.toggle("on", on);
  });
  showTokens.setAttribute("aria-pressed", "false");
  const { result } = turn;
  const use = result === undefined ? [] : [textButton("Use this picture", () => actions.use(result))];
  const save = textButton("Save", () => savePng(canvasFromImage(drawing.image), fileName(turn.words)));
  save.setAttribute("aria-label", "Save as PNG");
  const again = textButton("Again", () => actions.again(turn));
  again.title = "Once more, with the next seed";
  const tools = create("div", "drawn-tools", ...use, showTokens, ...(turn.mode === "chat" ? [] : [again]), save);
  return create("figure", "drawn", frame, create("figcaption", "", ...summary(turn, drawing)), tools);
}

/** "3 tokens kept, 1 new; gone: owl", with a dot for each token. */
function summary({ tokens: source }: Turn, { tokens, removed }: Drawing): (Node | string)[] {
  const name = (id: number): string | undefined => (source === undefined ? undefined : nameOf(source, id));
  const dots = tokens.map((token) => dot(token, token.kept === null ? "new" : `kept ${name(token.kept) ?? ""}`));
  const kept = tokens.filter((token) => token.kept !== null).length;
  const gone = removed.map((id) => name(id) ?? `token ${id}`).join(", ");
  const words =
    kept === 0 && removed.length === 0
      ? count(tokens.length, "token")
      : `${count(kept, "token")} kept, ${tokens.length - kept} new${gone === "" ? "" : `; gone: ${gone}`}`;
  return [create("span", "dots", ...dots), create("span", "", words)];
}

function dot({ id, kept }: Pick<DrawnToken, "id" | "kept">, title: string): HTMLElement {
  const node = create("span", kept === null ? "dot-token" : "dot-token kept");
  node.style.setProperty("--color", cssColor(paletteColor(id)));
  node.title = title.trim();
  return node;
}

/** Which token drew which part, on a canvas as large as the picture's. */
function tokensOver(drawing: Drawing, { width, height }: HTMLCanvasElement): HTMLCanvasElement {
  const canvas = create("canvas", "drawn-tokens");
  canvas.width = width;
  canvas.height = height;
  const color = (id: number): Color => (drawing.tokens[id]?.kept == null ? paletteColor(id) : KEPT);
  drawOverlay(context2d(canvas), drawing, { color, lineWidth: 2.5 });
  return canvas;
}

/** The picture before the edit, left of a line that can be moved. */
function before(frame: HTMLElement, picture: OpenPicture): HTMLElement[] {
  const canvas = scaled(picture.canvas, SIZE);
  canvas.className = "compare-before";
  const range = create("input", "");
  range.type = "range";
  range.min = "0";
  range.max = "100";
  range.value = "0";
  range.setAttribute("aria-label", "How much of the picture before the edit is shown, from the left");
  frame.classList.add("compare");
  moveLine(frame, range);
  const line = create("span", "compare-line", create("span", "compare-knob"));
  line.setAttribute("aria-hidden", "true");
  return [canvas, line, range];
}

function aspectOf({ width, height }: HTMLCanvasElement): string {
  return `${width} / ${height}`;
}
