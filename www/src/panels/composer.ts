/** Where the next words are written: the text box, what they are for, suggestions, and how images are generated. */

import type { Conversation } from "../conversation.ts";
import { create, element } from "../dom.ts";
import { type GenerationSettings, isRunning, modesOf, offers, type State, type Store } from "../state.ts";
import type { Mode } from "../worlds/world.ts";

export function mountComposer(store: Store, conversation: Conversation): void {
  const form = element("composer", HTMLFormElement);
  const textBox = element("words", HTMLTextAreaElement);
  const ask = (text: string): boolean => conversation.ask(store.state.mode, text);
  const grow = (): void => {
    textBox.style.setProperty("height", "auto");
    textBox.style.setProperty("height", `${textBox.scrollHeight}px`);
  };
  const submit = (): void => {
    if (!ask(textBox.value)) return;
    textBox.value = "";
    grow();
  };
  textBox.addEventListener("input", grow);
  textBox.addEventListener("keydown", (event) => {
    // While an input method composes a word, Enter is its own.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (store.state.answering) conversation.stop();
    else submit();
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") conversation.stop();
  });
  store.on(["draft"], ({ draft }) => {
    if (draft === undefined) return;
    textBox.value = draft.prompt;
    grow();
    textBox.focus();
    const start = draft.prompt.lastIndexOf(draft.open);
    textBox.setSelectionRange(start, start + draft.open.length);
  });
  mountModes(store, form, textBox);
  mountSend(store, textBox);
  mountSuggestions(store, conversation);
  mountSettings(store);
}

function mountModes(store: Store, form: HTMLFormElement, textBox: HTMLTextAreaElement): void {
  const modes = [...form.querySelectorAll<HTMLInputElement>('input[name="mode"]')];
  for (const radio of modes) {
    radio.addEventListener("change", () => store.set({ mode: radio.value as Mode }));
  }
  store.on(["tasks"], (state) => {
    const offered = modesOf(state);
    for (const radio of modes) {
      radio.disabled = !offered.includes(radio.value as Mode);
      if (radio.parentElement !== null) radio.parentElement.hidden = radio.disabled;
    }
    const [first] = offered;
    if (first !== undefined && !offered.includes(state.mode)) store.set({ mode: first });
  });
  store.on(["mode"], ({ mode, world }) => {
    textBox.placeholder = world.modes[mode]?.placeholder ?? "";
    for (const radio of modes) radio.checked = radio.value === mode;
  });
}

/** One button sends and stops, so that the keyboard's place is not lost between the two. */
function mountSend(store: Store, textBox: HTMLTextAreaElement): void {
  const send = element("send", HTMLButtonElement);
  store.on(["tasks", "status", "answering"], (state) => {
    textBox.disabled = !canAsk(state);
    send.disabled = !canAsk(state) && !state.answering;
    send.setAttribute("aria-label", state.answering ? "Stop" : "Send");
    send.dataset["state"] = state.answering ? "stop" : "go";
  });
}

function canAsk(state: State): boolean {
  return isRunning(state.status) && modesOf(state).length > 0;
}

function mountSuggestions(store: Store, conversation: Conversation): void {
  const row = element("suggestions", HTMLElement);
  store.on(["mode", "tokens", "pinned", "tasks"], (state) => {
    const { mode, tokens, pinned, world } = state;
    const requests = world.suggestions(mode, tokens, pinned).filter((request) => offers(state, request.mode));
    row.replaceChildren(
      ...requests.map((request) => {
        const button = create("button", "suggestion", request.prompt);
        button.type = "button";
        button.addEventListener("click", () => conversation.request(request));
        return button;
      }),
    );
    row.scrollLeft = 0;
  });
  // A mouse has one wheel, and the row goes sideways.
  row.addEventListener("wheel", (event) => {
    if (event.deltaX !== 0 || row.scrollWidth <= row.clientWidth) return;
    event.preventDefault();
    row.scrollLeft += event.deltaY;
  });
  store.on(["mode", "tokens", "pinned", "tasks", "status", "answering"], (state) => {
    // Not `disabled`: the keyboard keeps its place, and can always scroll the row.
    const off = String(!canAsk(state) || state.answering);
    for (const button of row.querySelectorAll("button")) button.setAttribute("aria-disabled", off);
  });
}

function mountSettings(store: Store): void {
  const panel = element("settings", HTMLElement);
  const toggle = element("settings-toggle", HTMLButtonElement);
  store.on(["tasks"], (state) => {
    toggle.hidden = !offers(state, "generate");
    if (toggle.hidden) panel.hidden = true;
  });
  toggle.addEventListener("click", () => {
    panel.hidden = !panel.hidden;
    toggle.setAttribute("aria-expanded", String(!panel.hidden));
  });
  for (const key of ["seed", "guidance", "steps"] as const satisfies (keyof GenerationSettings)[]) {
    const input = element(`setting-${key}`, HTMLInputElement);
    input.addEventListener("change", () => {
      const { settings } = store.state;
      // What cannot be used is put back.
      if (input.validity.valid && input.value !== "")
        store.set({ settings: { ...settings, [key]: input.valueAsNumber } });
      else input.value = String(settings[key]);
    });
    store.on(["settings"], ({ settings }) => {
      input.value = String(settings[key]);
    });
  }
}
