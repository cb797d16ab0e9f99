/** The scene composer: a dialog in which things are put on a background, so that anybody can make a picture of the
 *  world that the model knows. */

import { colorNames, colors } from "../colors.ts";
import { create, directions, element } from "../dom.ts";
import type { Engine } from "../engine.ts";
import { openImageFromCanvas } from "../image.ts";
import { DRAWN_SIDE, drawScene, loadSprites } from "../scene/draw.ts";
import {
  captionOf,
  cellOfThing,
  MOST,
  nounOf,
  overlaps,
  resized,
  type Scene,
  SIDE,
  type Thing,
  withChange,
  without,
  withThing,
} from "../scene/scene.ts";
import { type Background, isColored, type Kind, sheet, tileOf } from "../scene/sheet.ts";
import type { Store } from "../state.ts";

const STEP = 2;
const FAR = 10;
const GROWTH = 3;
const actions: Record<string, string> = {
  "+": "larger",
  "=": "larger",
  "-": "smaller",
  Delete: "remove",
  Backspace: "remove",
};

/** The sprites are fetched with the page, so that composing sends nothing later. Without them there is no composer. */
export async function mountScene(store: Store, engine: Engine): Promise<void> {
  const opener = element("compose", HTMLButtonElement);
  opener.hidden = store.state.world.maker !== "scene";
  if (opener.hidden) return;
  let sprites: ImageBitmap;
  try {
    sprites = await loadSprites();
  } catch {
    opener.hidden = true;
    return;
  }
  const dialog = element("scene", HTMLDialogElement);
  const composer = new SceneComposer(sprites);
  opener.addEventListener("click", () => {
    composer.show();
    dialog.showModal();
  });
  element("scene-close", HTMLButtonElement).addEventListener("click", () => dialog.close());
  element("scene-use", HTMLButtonElement).addEventListener("click", () => {
    dialog.close();
    void engine.show(composer.image());
  });
}

class SceneComposer {
  readonly #sprites: ImageBitmap;
  readonly #board = element("scene-board", HTMLElement);
  readonly #canvas = element("scene-canvas", HTMLCanvasElement);
  readonly #handles = new Map<number, HTMLButtonElement>();
  #scene: Scene = ["owl", "balloon"].reduce((scene, name) => withThing(scene, name), {
    background: "grass",
    texture: 0,
    things: [],
  } as Scene);
  #chosen: number | undefined;

  constructor(sprites: ImageBitmap) {
    this.#sprites = sprites;
    element("scene-places", HTMLElement).append(...sheet.backgrounds.map((place) => this.#placeButton(place)));
    element("scene-kinds", HTMLElement).append(...sheet.objects.map((kind) => this.#kindButton(kind)));
    element("scene-colors", HTMLElement).append(...colorNames.map((color) => this.#colorButton(color)));
    for (const button of element("scene-tools", HTMLElement).querySelectorAll<HTMLButtonElement>("[data-do]")) {
      button.addEventListener("click", () => this.#do(button.dataset["do"] ?? ""));
    }
  }

  /** The scene as a picture, with what it shows as its name. */
  image(): ReturnType<typeof openImageFromCanvas> {
    const canvas = create("canvas", "");
    canvas.width = canvas.height = DRAWN_SIDE;
    drawScene(canvas, this.#scene, this.#sprites);
    return openImageFromCanvas(canvas, captionOf(this.#scene));
  }

  show(): void {
    drawScene(this.#canvas, this.#scene, this.#sprites);
    this.#showHandles();
    this.#showTools();
    for (const button of element("scene-places", HTMLElement).children) {
      button.setAttribute("aria-pressed", String((button as HTMLElement).dataset["name"] === this.#scene.background));
    }
    const full = this.#scene.things.length >= MOST;
    for (const button of element("scene-kinds", HTMLElement).children)
      button.setAttribute("aria-disabled", String(full));
    element("scene-status", HTMLElement).textContent = this.#status(full);
  }

  #status(full: boolean): string {
    if (overlaps(this.#scene)) return "Some things cover each other: the model has not learned that.";
    return full ? `${MOST} things: the model has not seen more.` : captionOf(this.#scene);
  }

  #change(scene: Scene): void {
    this.#scene = scene;
    this.show();
  }

  #thing(): Thing | undefined {
    return this.#scene.things.find(({ id }) => id === this.#chosen);
  }

  #do(what: string): void {
    const thing = this.#thing();
    if (thing === undefined) return;
    const { id } = thing;
    if (what === "larger") this.#change(resized(this.#scene, thing, GROWTH));
    if (what === "smaller") this.#change(resized(this.#scene, thing, -GROWTH));
    if (what === "flip") this.#change(withChange(this.#scene, id, { flipped: !thing.flipped }));
    if (what === "style") this.#change(withChange(this.#scene, id, { style: 1 - thing.style }));
    if (what === "remove") this.#remove(id);
  }

  #remove(id: number): void {
    this.#change(without(this.#scene, id));
    // The keyboard goes on with another thing.
    const next = [...this.#handles.values()].at(-1);
    (next ?? element("scene-kinds", HTMLElement).querySelector("button"))?.focus();
  }

  // --- things on the board

  #showHandles(): void {
    const { things } = this.#scene;
    for (const [id, handle] of this.#handles) {
      if (things.some((thing) => thing.id === id)) continue;
      this.#handles.delete(id);
      handle.remove();
    }
    for (const thing of things) {
      const handle = this.#handles.get(thing.id) ?? this.#newHandle(thing.id);
      handle.setAttribute("aria-label", `${nounOf(thing)}, ${cellOfThing(thing)}`);
      handle.setAttribute("aria-pressed", String(thing.id === this.#chosen));
      for (const [property, value] of [
        ["left", thing.x],
        ["top", thing.y],
        ["width", thing.size],
        ["height", thing.size],
      ] as const) {
        handle.style.setProperty(property, `${(100 * value) / SIDE}%`);
      }
    }
  }

  #newHandle(id: number): HTMLButtonElement {
    const handle = create("button", "scene-thing");
    handle.type = "button";
    handle.addEventListener("focus", () => {
      this.#chosen = id;
      this.show();
    });
    handle.addEventListener("keydown", (event) => this.#onKey(event));
    this.#letDrag(handle, id);
    this.#handles.set(id, handle);
    this.#board.append(handle);
    return handle;
  }

  #onKey(event: KeyboardEvent): void {
    const thing = this.#thing();
    const [x, y] = directions[event.key] ?? [0, 0];
    const what = actions[event.key];
    if (thing === undefined || (x === 0 && y === 0 && what === undefined)) return;
    event.preventDefault();
    const step = event.shiftKey ? FAR : STEP;
    if (what === undefined)
      this.#change(withChange(this.#scene, thing.id, { x: thing.x + x * step, y: thing.y + y * step }));
    else this.#do(what);
  }

  #letDrag(handle: HTMLButtonElement, id: number): void {
    let grip: { x: number; y: number } | undefined;
    const pointAt = (event: PointerEvent): { x: number; y: number } => {
      const box = this.#board.getBoundingClientRect();
      return { x: ((event.clientX - box.left) / box.width) * SIDE, y: ((event.clientY - box.top) / box.height) * SIDE };
    };
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      handle.focus(); // Safari does not focus buttons by itself
      const thing = this.#thing();
      const point = pointAt(event);
      if (thing !== undefined) grip = { x: point.x - thing.x, y: point.y - thing.y };
    });
    handle.addEventListener("pointermove", (event) => {
      if (grip === undefined) return;
      const point = pointAt(event);
      this.#change(withChange(this.#scene, id, { x: point.x - grip.x, y: point.y - grip.y }));
    });
    for (const end of ["pointerup", "pointercancel"] as const) handle.addEventListener(end, () => (grip = undefined));
  }

  #showTools(): void {
    const thing = this.#thing();
    const tools = element("scene-tools", HTMLElement);
    for (const button of tools.querySelectorAll<HTMLButtonElement>("[data-do]")) button.disabled = thing === undefined;
    for (const swatch of element("scene-colors", HTMLElement).querySelectorAll("button")) {
      swatch.disabled = thing?.color === undefined;
      swatch.setAttribute("aria-pressed", String(thing !== undefined && thing.color === swatch.dataset["color"]));
    }
  }

  // --- what can be chosen

  #placeButton({ name, phrase, bands, horizon }: Background): HTMLButtonElement {
    const button = create("button", "scene-place");
    button.type = "button";
    button.dataset["name"] = name;
    button.setAttribute("aria-label", phrase);
    button.title = phrase;
    const stops = bands.flatMap(({ top, bottom }, band) => {
      const [from, to] = band === 0 ? [0, horizon] : [horizon, 1];
      return [`rgb(${top.join()}) ${from * 100}%`, `rgb(${bottom.join()}) ${to * 100}%`];
    });
    button.style.setProperty("background-image", `linear-gradient(${stops.join()})`);
    button.addEventListener("click", () => this.#change({ ...this.#scene, background: name }));
    return button;
  }

  #kindButton(kind: Kind): HTMLButtonElement {
    const size = 2 * 36;
    const icon = create("canvas", "");
    icon.width = icon.height = size;
    const tile = tileOf(kind.styles[0]?.[0] ?? 0);
    icon.getContext("2d")?.drawImage(this.#sprites, tile.x, tile.y, tile.size, tile.size, 0, 0, size, size);
    const button = create("button", "scene-kind", icon);
    button.type = "button";
    button.setAttribute("aria-label", `Add: ${kind.name}`);
    button.title = isColored(kind) ? `${kind.name}, in eight colours` : kind.name;
    button.addEventListener("click", () => this.#add(kind.name));
    return button;
  }

  #add(name: string): void {
    const scene = withThing(this.#scene, name);
    if (scene === this.#scene) return;
    this.#chosen = scene.things.at(-1)?.id;
    this.#change(scene);
  }

  #colorButton(color: (typeof colorNames)[number]): HTMLButtonElement {
    const button = create("button", "swatch");
    button.type = "button";
    button.dataset["color"] = color;
    button.setAttribute("aria-label", color);
    button.title = color;
    button.style.setProperty("--color", colors[color]);
    button.addEventListener("click", () => {
      if (this.#chosen !== undefined) this.#change(withChange(this.#scene, this.#chosen, { color }));
    });
    return button;
  }
}
