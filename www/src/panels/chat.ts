/** The conversation: one entry for each turn, the last one growing while its answer comes. */

import { type Color, drawOverlay, type SegmentationMask } from "setokim";
import type { Conversation } from "../conversation.ts";
import { context2d, create, element, textButton } from "../dom.ts";
import type { Engine } from "../engine.ts";
import { count, percent, seconds, sentence } from "../format.ts";
import { scaled } from "../image.ts";
import { areaOf, INSIDE, maskColor, partitionFromMask } from "../mask-overlay.ts";
import { modesOf, type Notice, type OpenImage, type Store } from "../state.ts";
import { modeNames } from "../transcript.ts";
import type { Turn } from "../turn.ts";
import type { Mode, World } from "../worlds/world.ts";
import { generatedFigure, type ImageActions, pendingFigure } from "./generated-image.ts";

export function mountChat(store: Store, engine: Engine, conversation: Conversation): void {
  const box = element("chat", HTMLElement);
  const intro = element("chat-intro", HTMLElement);
  const list = element("turns", HTMLOListElement);
  const composer = element("composer", HTMLElement);
  const clear = element("chat-clear", HTMLButtonElement);
  const views = new Map<number, TurnView>();
  const actions: TurnActions = {
    use: (image) => {
      element("stage", HTMLElement).scrollIntoView({ block: "nearest" });
      void engine.show(image);
    },
    again: (turn) => conversation.again(turn),
    retry: (turn) => conversation.retry(turn),
  };

  clear.addEventListener("click", () => {
    conversation.clear();
    element("words", HTMLTextAreaElement).focus();
  });
  store.on(["tasks"], (state) => {
    const offered = modesOf(state);
    box.hidden = offered.length === 0;
    intro.replaceChildren(...introduction(state.world, offered));
  });
  store.on(["turns"], ({ turns }) => {
    intro.hidden = turns.length > 0;
    clear.hidden = turns.length === 0;
    // Whoever has scrolled away to read, or to look at the picture, is left there.
    const follow = list.getBoundingClientRect().bottom < composer.getBoundingClientRect().top + 60;
    for (const [id, view] of views) {
      if (turns.some((turn) => turn.id === id)) continue;
      view.node.remove();
      views.delete(id);
    }
    for (const [index, turn] of turns.entries()) {
      let view = views.get(turn.id);
      if (view === undefined) {
        view = new TurnView(turn, turns[index - 1], actions);
        views.set(turn.id, view);
        list.append(view.node);
        view.update(turn);
        view.node.scrollIntoView({ block: "end" });
      } else if (view.update(turn) && follow) view.node.scrollIntoView({ block: "end" });
    }
  });
}

/** What can be asked for, before the first question. */
function introduction({ modes, about }: World, offered: readonly Mode[]): HTMLElement[] {
  const lead = offered.map((mode, index) => (index === 0 ? modeNames[mode] : modeNames[mode].toLowerCase()));
  const list = offered.map((mode) =>
    create("div", "", create("dt", "", modeNames[mode]), create("dd", "", modes[mode]?.about ?? "")),
  );
  return [create("p", "chat-lead", `${lead.join(", ")}.`), create("dl", "chat-modes", ...list), create("p", "", about)];
}

interface TurnActions extends ImageActions {
  /** Asks once more after a failure, or after it was stopped. */
  retry(turn: Turn): void;
}

class TurnView {
  readonly node: HTMLLIElement;
  readonly #text = create("p", "answer-text");
  readonly #media = create("div", "answer-media");
  readonly #meta = create("p", "answer-meta num");
  readonly #tools = create("span", "answer-tools");
  readonly #actions: TurnActions;
  #shown: Turn | undefined;

  constructor(turn: Turn, before: Turn | undefined, actions: TurnActions) {
    this.#actions = actions;
    const answer = create(
      "div",
      "answer",
      create("span", "sr", "Answer: "),
      this.#text,
      this.#media,
      create("div", "answer-foot", this.#meta, this.#tools),
    );
    this.node = create("li", "turn", asked(turn, before, actions), answer);
  }

  /** True when there was something new. */
  update(turn: Turn): boolean {
    const before = this.#shown;
    if (turn === before) return false;
    this.#shown = turn;
    this.node.dataset["state"] = turn.state;
    // Figures hold what a person has switched and moved, so they are made anew only when there is something new in them.
    const hasNew = (["state", "masks", "visualTokens", "generated"] as const).some(
      (key) => turn[key] !== before?.[key],
    );
    if (hasNew) this.#media.replaceChildren(...media(turn, this.#actions));
    const isEmpty = turn.text === "" && this.#media.childElementCount === 0;
    this.#text.classList.toggle("thinking", turn.state === "running" && isEmpty);
    this.#text.textContent = turn.problem === undefined ? turn.text : "";
    this.#meta.textContent = metaOf(turn);
    if (turn.problem !== undefined) this.#text.append(problem(turn.problem));
    if (turn.state !== before?.state) this.#tools.replaceChildren(...tools(turn, this.#actions));
    return true;
  }
}

/** The person's side: the words, and the picture when it is another than before. */
function asked(turn: Turn, before: Turn | undefined, actions: ImageActions): HTMLElement {
  const mode = turn.mode === "chat" ? [] : [create("span", "asked-mode", modeNames[turn.mode]), " "];
  const words = create("p", "asked-words", create("span", "sr", "You: "), ...mode, turn.input);
  const { image } = turn;
  return image === undefined || image === before?.image
    ? create("div", "asked", words)
    : create("div", "asked", imageButton(image, actions), words);
}

/** A small picture that goes back to the large one: the way to undo an edit. */
function imageButton(image: OpenImage, actions: ImageActions): HTMLButtonElement {
  const button = create("button", "asked-picture", scaled(image.canvas, 112));
  button.type = "button";
  button.title = `Show ${image.name}`;
  button.setAttribute("aria-label", `Show ${image.name} again`);
  button.addEventListener("click", () => actions.use(image));
  return button;
}

function media(turn: Turn, actions: ImageActions): HTMLElement[] {
  const { image, generated } = turn;
  const masks =
    image === undefined ? [] : turn.masks.map((mask, index) => maskFigure(image, mask, maskColor(turn.id, index)));
  if (generated !== undefined) return [...masks, generatedFigure(turn, generated, actions)];
  const isPending = turn.state === "running" && (turn.mode === "generate" || turn.visualTokens.length > 0);
  return isPending ? [...masks, pendingFigure(turn)] : masks;
}

/** The picture with a mask over it. */
function maskFigure(image: OpenImage, mask: SegmentationMask, color: Color): HTMLElement {
  const canvas = scaled(image.canvas, 320);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "The picture with what was found in it");
  drawOverlay(context2d(canvas), partitionFromMask(mask), { opacity: 0, highlight: INSIDE, color: () => color });
  const line = create("figcaption", "num", `${percent(areaOf(mask))} of the picture · ${percent(mask.score)} sure`);
  return create("figure", "masked", canvas, line);
}

function metaOf({ state, usage, time, generated, settings }: Turn): string {
  if (state === "stopped") return "Stopped";
  if (usage === undefined || time === undefined) return "";
  // The tokens of a picture are listed under it.
  if (generated !== undefined)
    return settings === undefined ? seconds(time) : `seed ${settings.seed} · ${seconds(time)}`;
  const cut = usage.finish === "length" ? ", cut at the limit" : "";
  return `${count(usage.answerTokens, "token")}${cut} · ${seconds(time)}`;
}

function tools(turn: Turn, { retry }: TurnActions): HTMLButtonElement[] {
  if (turn.state === "running") return [];
  const isOver = turn.state === "done";
  return [
    ...(isOver ? [] : [textButton("Retry", () => retry(turn))]),
    ...(turn.text === "" ? [] : [copyButton(turn.text)]),
  ];
}

function copyButton(text: string): HTMLButtonElement {
  const copy = textButton("Copy", () => {
    void navigator.clipboard.writeText(text).then(
      () => (copy.textContent = "Copied"),
      () => (copy.textContent = "Not allowed"),
    );
    setTimeout(() => (copy.textContent = "Copy"), 2000);
  });
  copy.hidden = navigator.clipboard === undefined; // a page that is not served securely
  return copy;
}

function problem({ message, remedy, code }: Notice): HTMLElement {
  return create("span", "answer-problem", `${sentence(message)} ${remedy} `, create("code", "", code));
}
