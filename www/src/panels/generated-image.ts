/** A picture that the model made: its tokens, what it copied of the one before, and what can be done with it. */

import {
  type Color,
  cssColor,
  drawOverlay,
  type GeneratedImage,
  type GeneratedToken,
  type GeneratedTokens,
  paletteColor,
} from "setokim";
import { context2d, create, savePng, textButton } from "../dom.ts";
import { count, fileName, percent } from "../format.ts";
import { canvasFromImage, scaled } from "../image.ts";
import { nameOf } from "../names.ts";
import type { OpenImage } from "../state.ts";
import type { Turn } from "../turn.ts";
import { moveLine } from "./compare.ts";

export interface ImageActions {
  /** Makes it the picture that the page is about. */
  use(image: OpenImage): void;
  /** Asks once more, with another seed. */
  again(turn: Turn): void;
}

/** Pixels of the longer side, at twice the density of the page. */
const SIZE = 560;

/** Copied tokens step back, so that new ones stand out. */
const COPIED: Color = { r: 150, g: 152, b: 162 };

/** The place of a picture whose tokens are still coming. */
export function pendingFigure({ visualTokens, image, mode, settings }: Turn): HTMLElement {
  const frame = create("div", "generated-frame waiting");
  frame.style.setProperty("aspect-ratio", mode === "edit" && image !== undefined ? aspectOf(image.canvas) : "1");
  const dots = visualTokens.map((copied, id) => dot({ id, copied }, copied === null ? "new" : "copied"));
  frame.append(create("div", "generated-progress", ...dots));
  return create("figure", "generated", frame, create("figcaption", "num", progressOf(settings, visualTokens.length)));
}

function progressOf(settings: Turn["settings"], visualTokens: number): string {
  if (visualTokens > 0) return `Token ${visualTokens} …`;
  return settings === undefined ? "Editing …" : "Drawing …";
}

export function generatedFigure(turn: Turn, { image, tokens }: GeneratedImage, actions: ImageActions): HTMLElement {
  const result = turn.result;
  const after = scaled(result?.canvas ?? canvasFromImage(image), SIZE);
  const frame = create("div", "generated-frame", after);
  frame.style.setProperty("aspect-ratio", aspectOf(after));
  const isEdit = turn.mode === "edit" || tokens.tokens.some(({ copied }) => copied !== null);
  if (isEdit && turn.image !== undefined) frame.append(...before(frame, turn.image));
  else {
    after.setAttribute("role", "img");
    after.setAttribute("aria-label", `A picture of: ${turn.prompt}`);
  }

  const use = result === undefined ? [] : [textButton("Use this picture", () => actions.use(result))];
  const save = textButton("Save", () => savePng(canvasFromImage(image), fileName(turn.prompt)));
  save.setAttribute("aria-label", "Save as PNG");
  const again = textButton("Again", () => actions.again(turn));
  again.title = "Once more, with the next seed";
  const tools = create(
    "div",
    "generated-tools",
    ...use,
    ...tokenSwitch(tokens, after),
    ...(turn.mode === "chat" || turn.settings === undefined ? [] : [again]),
    save,
  );
  // A model that draws nothing has only changed pixels.
  const caption =
    turn.settings === undefined && turn.image !== undefined
      ? [`${percent(changedShare(scaled(turn.image.canvas, SIZE), after))} of the picture changed`]
      : summary(turn, tokens);
  return create("figure", "generated", frame, create("figcaption", "", ...caption), tools);
}

/** Shows which token drew what. Where an edit changed the pixels of a photograph there are no tokens, and no switch. */
function tokenSwitch(tokens: GeneratedTokens, image: HTMLCanvasElement): HTMLButtonElement[] {
  if (tokens.tokens.length === 0) return [];
  const overlay = tokensOver(tokens, image);
  image.after(overlay);
  const button = textButton("Tokens", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    overlay.classList.toggle("on", on);
  });
  button.setAttribute("aria-pressed", "false");
  return [button];
}

/** Decoders differ by a level or two where nothing was changed. */
const SAME = 8;

/** The share of pixels that are others, 0 to 1; all of them where the size is another. */
function changedShare(before: HTMLCanvasElement, after: HTMLCanvasElement): number {
  const { width, height } = after;
  if (before.width !== width || before.height !== height) return 1;
  const [a, b] = [before, after].map((canvas) => context2d(canvas).getImageData(0, 0, width, height).data);
  if (a === undefined || b === undefined) return 1;
  let changed = 0;
  for (let at = 0; at < a.length; at += 4) {
    const isOther = [0, 1, 2, 3].some((channel) => Math.abs((a[at + channel] ?? 0) - (b[at + channel] ?? 0)) > SAME);
    if (isOther) changed += 1;
  }
  return changed / (width * height);
}

/** "3 tokens copied, 1 new; removed: owl", with a dot for each token. */
function summary({ tokens: source }: Turn, { tokens, removed }: GeneratedTokens): (Node | string)[] {
  const name = (id: number): string | undefined => (source === undefined ? undefined : nameOf(source, id));
  const dots = tokens.map((token) => dot(token, token.copied === null ? "new" : `copied ${name(token.copied) ?? ""}`));
  const copied = tokens.filter((token) => token.copied !== null).length;
  const gone = removed.map((id) => name(id) ?? `token ${id}`).join(", ");
  const words =
    copied === 0 && removed.length === 0
      ? count(tokens.length, "token")
      : `${count(copied, "token")} copied, ${tokens.length - copied} new${gone === "" ? "" : `; removed: ${gone}`}`;
  return [create("span", "dots", ...dots), create("span", "", words)];
}

function dot({ id, copied }: Pick<GeneratedToken, "id" | "copied">, title: string): HTMLElement {
  const node = create("span", copied === null ? "dot-token" : "dot-token copied");
  node.style.setProperty("--color", cssColor(paletteColor(id)));
  node.title = title.trim();
  return node;
}

/** Which token covers which part, on a canvas as large as the picture's. */
function tokensOver(tokens: GeneratedTokens, { width, height }: HTMLCanvasElement): HTMLCanvasElement {
  const canvas = create("canvas", "generated-tokens");
  canvas.width = width;
  canvas.height = height;
  const color = (id: number): Color => (tokens.tokens[id]?.copied == null ? paletteColor(id) : COPIED);
  drawOverlay(context2d(canvas), tokens, { color, lineWidth: 2.5 });
  return canvas;
}

/** The picture before the edit, left of a line that can be moved. */
function before(frame: HTMLElement, image: OpenImage): HTMLElement[] {
  const canvas = scaled(image.canvas, SIZE);
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
