/** The picture with its tokens: drawing, pointing, tapping, and moving from token to token by keyboard. */

import { cssColor, drawOverlay, paletteColor, type Tokenization, tokenAt } from "setokim";
import { context2d, directions, element } from "../dom.ts";
import { count, percent } from "../format.ts";
import { partitionFromMask } from "../mask-overlay.ts";
import { nameOf, titleOf } from "../names.ts";
import { focusedToken, type State, type Store } from "../state.ts";

export function mountStage(store: Store): void {
  const stage = element("stage", HTMLElement);
  const frame = element("frame", HTMLElement);
  const empty = element("empty", HTMLElement);
  const surface = element("surface", HTMLElement);
  const tag = element("tag", HTMLElement);
  const image = element("picture", HTMLCanvasElement);
  const overlay = element("overlay", HTMLCanvasElement);
  const spot = element("spot", HTMLCanvasElement);
  const masks = element("masks", HTMLCanvasElement);
  const canvases = [image, overlay, masks, spot];

  /** Fits the frame into the stage; true when the canvases changed size and must be drawn again. */
  const fit = (): boolean => {
    const shown = store.state.image?.canvas;
    if (shown === undefined) return false;
    const gap = 2 * Number.parseFloat(getComputedStyle(stage).getPropertyValue("--gap"));
    const scale = Math.min((stage.clientWidth - gap) / shown.width, (stage.clientHeight - gap) / shown.height);
    const width = Math.max(1, Math.round(shown.width * scale));
    const height = Math.max(1, Math.round(shown.height * scale));
    frame.style.setProperty("width", `${width}px`);
    frame.style.setProperty("height", `${height}px`);
    const density = Math.min(devicePixelRatio, 2);
    const [w, h] = [Math.round(width * density), Math.round(height * density)];
    if (image.width === w && image.height === h) return false;
    for (const canvas of canvases) {
      canvas.width = w;
      canvas.height = h;
    }
    return true;
  };

  const drawImage = ({ image: open }: State): void => {
    frame.hidden = open === undefined;
    empty.hidden = open !== undefined;
    if (open === undefined) return;
    fit();
    const context = context2d(image);
    context.imageSmoothingQuality = "high";
    context.clearRect(0, 0, image.width, image.height);
    context.drawImage(open.canvas, 0, 0, image.width, image.height);
  };

  const drawTokens = (state: State): void => {
    const { tokens, opacity, overlay: on } = state;
    const context = context2d(overlay);
    context.clearRect(0, 0, overlay.width, overlay.height);
    // Masks are easier to see without the tokens under it.
    overlay.classList.toggle("on", on && tokens !== undefined && state.maskOverlays.length === 0);
    if (tokens === undefined) return;
    // The token in focus is shown as it is in the picture; the canvas above dims the others.
    const others = tokens.tokens.filter(({ id }) => id !== focusedToken(state));
    drawOverlay(context, { ...tokens, tokens: others }, { opacity, lineWidth: lineWidth() });
  };

  const drawMasks = ({ maskOverlays, opacity, overlay: on }: State): void => {
    const context = context2d(masks);
    context.clearRect(0, 0, masks.width, masks.height);
    masks.classList.toggle("on", on && maskOverlays.length > 0);
    for (const { mask, color } of maskOverlays) {
      drawOverlay(context, partitionFromMask(mask), { opacity, color: () => color, lineWidth: 1.5 * lineWidth() });
    }
  };

  const drawSpot = (state: State): void => {
    const { tokens } = state;
    const focus = focusedToken(state);
    const token = tokens?.tokens.find(({ id }) => id === focus);
    spot.classList.toggle("on", token !== undefined);
    tag.hidden = token === undefined;
    if (tokens === undefined || token === undefined) return;
    const context = context2d(spot);
    context.clearRect(0, 0, spot.width, spot.height);
    // The regions are on the canvas below; this one only adds the veil with its hole.
    drawOverlay(context, tokens, { opacity: 0, borders: false, highlight: token.id, lineWidth: lineWidth() });
    tag.textContent = `${titleOf(tokens, token.id)} · ${percent(token.patches / tokens.labels.length)}`;
    tag.style.setProperty("--color", cssColor(paletteColor(token.id)));
    const { x, y, below } = tagPlace(tokens, token.id);
    tag.style.setProperty("left", `${x * 100}%`);
    tag.style.setProperty("top", `${y * 100}%`);
    tag.classList.toggle("below", below);
  };

  const lineWidth = (): number => Math.max(1, image.width / 420);

  store.on(["image"], drawImage);
  store.on(["tokens", "image", "opacity", "overlay", "maskOverlays", "hovered", "pinned"], drawTokens);
  store.on(["maskOverlays", "image", "opacity", "overlay"], drawMasks);
  store.on(["tokens", "image", "hovered", "pinned"], drawSpot);
  store.on(["view"], ({ view }) => (surface.hidden = view !== "tokens"));
  store.on(["tokens", "image"], ({ tokens, image: open }) => {
    const number = tokens === undefined ? "" : `, ${count(tokens.tokens.length, "token")}`;
    surface.setAttribute("aria-label", open === undefined ? "Picture" : `${open.name}${number}`);
  });
  new ResizeObserver(() => {
    if (!fit()) return;
    drawImage(store.state);
    drawTokens(store.state);
    drawMasks(store.state);
    drawSpot(store.state);
  }).observe(stage);

  // --- pointer
  const tokenUnder = (event: PointerEvent | MouseEvent): number | undefined => {
    const { tokens } = store.state;
    const box = surface.getBoundingClientRect();
    if (tokens === undefined || box.width === 0) return undefined;
    const x = ((event.clientX - box.left) / box.width) * tokens.image.width;
    const y = ((event.clientY - box.top) / box.height) * tokens.image.height;
    return tokenAt(tokens, x, y);
  };
  surface.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse") store.set({ hovered: tokenUnder(event) });
  });
  surface.addEventListener("pointerleave", () => store.set({ hovered: undefined }));
  surface.addEventListener("click", (event) => {
    const token = tokenUnder(event);
    store.set({ pinned: token === store.state.pinned ? undefined : token });
  });

  // --- keyboard
  surface.addEventListener("keydown", (event) => {
    const { tokens } = store.state;
    const direction = directions[event.key];
    if (event.key === "Escape") store.set({ hovered: undefined, pinned: undefined });
    else if (event.key === "Enter" || event.key === " ") store.set({ pinned: focusedToken(store.state) });
    else if (direction !== undefined && tokens !== undefined) {
      const next = nextToken(tokens, focusedToken(store.state), direction);
      store.set({ hovered: undefined, pinned: next, announcement: describe(tokens, next) });
    } else return;
    event.preventDefault();
  });
}

/** What is said about a token when the keyboard reaches it. */
export function describe(tokens: Tokenization, id: number | undefined): string {
  const token = tokens.tokens.find((each) => each.id === id);
  if (token === undefined) return "";
  const share = percent(token.patches / tokens.labels.length);
  const name = nameOf(tokens, token.id);
  return `Token ${token.id}${name === undefined ? "" : `, ${name}`}: ${count(token.patches, "patch", "patches")}, ${share} of the picture.`;
}

/** The nearest token whose middle lies in a direction; the same one again where there is none. */
export function nextToken(
  tokens: Tokenization,
  from: number | undefined,
  [dx, dy]: readonly [number, number],
): number | undefined {
  const middles = middlesOf(tokens);
  const start = from === undefined ? undefined : middles.get(from);
  if (start === undefined) return tokens.tokens[0]?.id;
  let best = from;
  let nearest = Infinity;
  for (const [id, middle] of middles) {
    const along = (middle.x - start.x) * dx + (middle.y - start.y) * dy;
    const across = Math.abs((middle.x - start.x) * dy) + Math.abs((middle.y - start.y) * dx);
    const distance = along + 2 * across;
    if (id !== from && along > 0 && distance < nearest) {
      nearest = distance;
      best = id;
    }
  }
  return best;
}

/** The middle of each token's patches, in patches. */
function middlesOf({ labels, grid, tokens }: Tokenization): Map<number, { x: number; y: number }> {
  const sums = new Map(tokens.map(({ id }) => [id, { x: 0, y: 0, n: 0 }]));
  for (const [patch, label] of labels.entries()) {
    const sum = sums.get(label);
    if (sum === undefined) continue;
    sum.x += patch % grid[1];
    sum.y += Math.floor(patch / grid[1]);
    sum.n += 1;
  }
  return new Map([...sums].map(([id, { x, y, n }]) => [id, { x: x / Math.max(1, n), y: y / Math.max(1, n) }]));
}

/** Above the region's top edge, or under it where there is no room; parts of the picture's width and height. */
function tagPlace({ labels, grid, crop, image }: Tokenization, id: number): { x: number; y: number; below: boolean } {
  const [rows, columns] = grid;
  let top = rows;
  let left = columns;
  let right = 0;
  for (const [patch, label] of labels.entries()) {
    if (label !== id) continue;
    const row = Math.floor(patch / columns);
    if (row > top) continue;
    const column = patch % columns;
    if (row < top) [top, left, right] = [row, column, column];
    left = Math.min(left, column);
    right = Math.max(right, column);
  }
  const x = (crop.x + ((left + right + 1) / 2 / columns) * crop.width) / image.width;
  const y = (crop.y + (top / rows) * crop.height) / image.height;
  return { x: Math.min(0.88, Math.max(0.12, x)), y: Math.min(1, Math.max(0, y)), below: y < 0.08 };
}
