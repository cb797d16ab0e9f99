/** One menu for the whole page: it opens at a place, is walked through by keyboard, and closes by itself. */

import { create, element } from "./dom.ts";

export interface MenuItem {
  label: string;
  /** Before the label, in a fainter colour: what kind of thing it does. */
  kind?: string;
  run: () => void;
}

/** Small choices in one row, each a spot of colour. */
export interface MenuSwatches {
  kind: string;
  swatches: readonly { label: string; color: string; run: () => void }[];
}

export type MenuEntry = MenuItem | MenuSwatches;

/** Pixels of the window. */
export interface Place {
  x: number;
  y: number;
}

let menu: HTMLElement | undefined;

/** Opens it with its corner at a place, or as near as the window allows; focus goes in, and back when it closes. */
export function openMenu(title: string, entries: readonly MenuEntry[], { x, y }: Place): void {
  const box = (menu ??= newMenu());
  box.setAttribute("aria-label", title);
  const heading = create("p", "menu-title", title);
  heading.setAttribute("aria-hidden", "true");
  box.replaceChildren(heading, ...entries.map(entryNode));
  box.showPopover();
  const { width, height } = box.getBoundingClientRect();
  box.style.setProperty("left", `${Math.max(8, Math.min(x, innerWidth - width - 8))}px`);
  box.style.setProperty("top", `${Math.max(8, Math.min(y, innerHeight - height - 8))}px`);
  itemsOf(box)[0]?.focus();
}

export function placeUnder(node: Element): Place {
  const { left, bottom } = node.getBoundingClientRect();
  return { x: left, y: bottom + 6 };
}

function newMenu(): HTMLElement {
  const box = create("div", "menu");
  box.popover = "auto";
  box.setAttribute("role", "menu");
  element("main", HTMLElement).append(box); // within a landmark
  box.addEventListener("keydown", (event) => {
    const items = itemsOf(box);
    const at = items.indexOf(document.activeElement as HTMLElement);
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const to = step !== undefined ? at + step : event.key === "Home" ? 0 : event.key === "End" ? -1 : undefined;
    if (event.key === "Tab") box.hidePopover();
    if (to === undefined) return;
    event.preventDefault();
    items.at(to % items.length)?.focus();
  });
  return box;
}

function itemsOf(box: HTMLElement): HTMLElement[] {
  return [...box.querySelectorAll<HTMLElement>("[role=menuitem]")];
}

function entryNode(entry: MenuEntry): HTMLElement {
  if (!("swatches" in entry)) {
    const kind = entry.kind === undefined ? [] : [create("span", "menu-kind", entry.kind), " "];
    return itemNode("menu-item", entry.run, ...kind, entry.label);
  }
  const kind = create("span", "menu-kind", entry.kind);
  kind.setAttribute("aria-hidden", "true");
  const swatches = entry.swatches.map(({ label, color, run }) => {
    const node = itemNode("swatch", run);
    node.style.setProperty("--color", color);
    node.setAttribute("aria-label", label);
    node.title = label;
    return node;
  });
  const row = create("div", "menu-swatches", kind, ...swatches);
  row.setAttribute("role", "none");
  return row;
}

function itemNode(className: string, run: () => void, ...children: (Node | string)[]): HTMLButtonElement {
  const node = create("button", className, ...children);
  node.type = "button";
  node.tabIndex = -1;
  node.setAttribute("role", "menuitem");
  node.addEventListener("click", () => {
    menu?.hidePopover();
    run();
  });
  return node;
}
