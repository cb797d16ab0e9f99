/** The tokens as a legend: what each one covers, how large it is, how clearly it stands apart. */

import { cssColor, paletteColor, type SemanticToken, type Tokenization, tokenMask } from "setokim";
import { context2d, create, element } from "../dom.ts";
import { count, percent } from "../format.ts";
import { confidentName, nameOf } from "../names.ts";
import { focusedToken, type OpenImage, type State, type Store } from "../state.ts";
import { describe } from "./stage.ts";

const THUMB = 40;

export function mountTokens(store: Store): void {
  const list = element("token-list", HTMLUListElement);
  const total = element("token-count", HTMLElement);
  const noun = element("token-noun", HTMLElement);
  const sub = element("token-sub", HTMLElement);

  const fill = ({ tokens, image }: State): void => {
    list.replaceChildren();
    list.classList.toggle("waiting", tokens === undefined);
    total.textContent = tokens === undefined ? "–" : String(tokens.tokens.length);
    noun.textContent = tokens?.tokens.length === 1 ? "token" : "tokens";
    if (tokens === undefined || image === undefined) return;
    sub.textContent = `from ${count(tokens.labels.length, "patch", "patches")}`;
    const best = Math.max(...tokens.tokens.map(({ score }) => score), 1e-9);
    for (const token of tokens.tokens) list.append(row(token, tokens, image, best));
  };
  store.on(["tokens"], fill);

  const mark = (state: State): void => {
    const focus = focusedToken(state);
    for (const option of list.children) {
      const on = Number((option as HTMLElement).dataset["id"]) === focus;
      option.setAttribute("aria-selected", String(on));
      if (!on) continue;
      list.setAttribute("aria-activedescendant", option.id);
      if (state.hovered === undefined || document.activeElement === list) scrollTo(list, option as HTMLElement);
    }
    if (focus === undefined) list.removeAttribute("aria-activedescendant");
    showDetail(state, focus);
  };
  store.on(["tokens", "hovered", "pinned"], mark);

  const idOf = (event: Event): number | undefined => {
    const option = event.target instanceof Element ? event.target.closest<HTMLElement>("[role=option]") : null;
    return option === null ? undefined : Number(option.dataset["id"]);
  };
  list.addEventListener("pointermove", (event) => {
    // Only where the mouse itself moves: a list that scrolls under a resting one is not pointed at.
    const moved = event.movementX !== 0 || event.movementY !== 0;
    if (event.pointerType === "mouse" && moved) store.set({ hovered: idOf(event) });
  });
  list.addEventListener("pointerleave", () => store.set({ hovered: undefined }));
  list.addEventListener("click", (event) => {
    const id = idOf(event);
    store.set({ pinned: id === store.state.pinned ? undefined : id });
  });
  list.addEventListener("keydown", (event) => {
    const { tokens } = store.state;
    if (tokens === undefined) return;
    const ids = tokens.tokens.map(({ id }) => id);
    const at = ids.indexOf(focusedToken(store.state) ?? -1);
    const to = { ArrowDown: at + 1, ArrowUp: Math.max(at - 1, 0), Home: 0, End: ids.length - 1 }[event.key];
    if (event.key === "Escape") store.set({ hovered: undefined, pinned: undefined });
    else if (to !== undefined) {
      const id = ids[Math.min(to, ids.length - 1)];
      store.set({ hovered: undefined, pinned: id, announcement: describe(tokens, id) });
    } else return;
    event.preventDefault();
  });
}

function row(token: SemanticToken, tokens: Tokenization, image: OpenImage, best: number): HTMLLIElement {
  const option = create(
    "li",
    "token",
    thumbnail(token, tokens, image),
    title(token, tokens),
    create("span", "token-size num", percent(token.patches / tokens.labels.length)),
    meter(token.score / best),
  );
  option.id = `token-${token.id}`;
  option.dataset["id"] = String(token.id);
  option.setAttribute("role", "option");
  option.setAttribute("aria-selected", "false");
  option.style.setProperty("--color", cssColor(paletteColor(token.id)));
  return option;
}

/** "owl, token 3", or "token 3" alone. */
function title({ id }: SemanticToken, tokens: Tokenization): HTMLElement {
  const name = nameOf(tokens, id);
  if (name === undefined) return create("span", "token-name", `token ${id}`);
  return create("span", "token-name", name, create("small", "", `token ${id}`));
}

function meter(part: number): HTMLElement {
  const bar = create("span", "token-meter");
  bar.style.setProperty("--part", String(Math.max(0.02, part)));
  return bar;
}

/** The token cut out of the picture, as large as it fits. */
function thumbnail(token: SemanticToken, tokens: Tokenization, { canvas: image }: OpenImage): HTMLCanvasElement {
  const size = THUMB * 2;
  const canvas = create("canvas", "token-thumb");
  canvas.width = canvas.height = size;
  const [rows, columns] = tokens.grid;
  const { data } = tokenMask(tokens, token.id);
  let [top, left, bottom, right] = [rows, columns, 0, 0];
  for (const [patch, inside] of data.entries()) {
    if (inside === 0) continue;
    const [row, column] = [Math.floor(patch / columns), patch % columns];
    [top, bottom] = [Math.min(top, row), Math.max(bottom, row + 1)];
    [left, right] = [Math.min(left, column), Math.max(right, column + 1)];
  }
  if (right <= left) return canvas;
  const patchWidth = (tokens.crop.width / columns / tokens.image.width) * image.width;
  const patchHeight = (tokens.crop.height / rows / tokens.image.height) * image.height;
  const originX = (tokens.crop.x / tokens.image.width) * image.width;
  const originY = (tokens.crop.y / tokens.image.height) * image.height;
  const scale = (size - 8) / Math.max((right - left) * patchWidth, (bottom - top) * patchHeight);
  const offsetX = (size - (right - left) * patchWidth * scale) / 2;
  const offsetY = (size - (bottom - top) * patchHeight * scale) / 2;
  const context = context2d(canvas);
  context.imageSmoothingQuality = "high";
  context.beginPath();
  for (const [patch, inside] of data.entries()) {
    if (inside === 0) continue;
    const [row, column] = [Math.floor(patch / columns), patch % columns];
    context.rect(
      offsetX + (column - left) * patchWidth * scale - 0.5,
      offsetY + (row - top) * patchHeight * scale - 0.5,
      patchWidth * scale + 1,
      patchHeight * scale + 1,
    );
  }
  context.clip();
  context.drawImage(
    image,
    originX + left * patchWidth,
    originY + top * patchHeight,
    (right - left) * patchWidth,
    (bottom - top) * patchHeight,
    offsetX,
    offsetY,
    (right - left) * patchWidth * scale,
    (bottom - top) * patchHeight * scale,
  );
  return canvas;
}

function showDetail({ tokens }: State, focus: number | undefined): void {
  const token = tokens?.tokens.find(({ id }) => id === focus);
  const set = (id: string, text: string): void => void (element(id, HTMLElement).textContent = text);
  element("token-detail", HTMLElement).classList.toggle("on", token !== undefined);
  if (tokens === undefined || token === undefined) {
    for (const id of ["detail-patches", "detail-center", "detail-score", "detail-sure"]) set(id, "–");
    return;
  }
  set("detail-patches", count(token.patches, "patch", "patches"));
  set("detail-center", `row ${token.center[0]}, column ${token.center[1]}`);
  set("detail-score", token.score.toFixed(3));
  const found = confidentName(tokens, token.id);
  set("detail-sure", found === undefined ? "–" : percent(found.confidence));
}

/** Scrolls the list only, never the page. */
function scrollTo(list: HTMLElement, option: HTMLElement): void {
  const top = option.offsetTop - list.offsetTop;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + option.offsetHeight > list.scrollTop + list.clientHeight) {
    list.scrollTop = top + option.offsetHeight - list.clientHeight;
  }
}
