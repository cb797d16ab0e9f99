/** Runs the conversation: one question at a time, each as a turn of the store that grows while its answer comes. */

import { SetokimError } from "setokim";
import type { Engine } from "./engine.ts";
import { openImageFromData } from "./image.ts";
import { maskColor } from "./mask-overlay.ts";
import { comparesEdits, isRunning, type MaskOverlay, offers, type Store } from "./state.ts";
import { describeImage } from "./transcript.ts";
import { afterAnswer, afterEvent, messagesOf, newTurn, promptFor, type Question, type Turn } from "./turn.ts";
import type { Mode, Request } from "./worlds/world.ts";

export class Conversation {
  readonly #store: Store;
  readonly #engine: Engine;
  #nextId = 1;
  #stop: (() => void) | undefined;

  constructor(store: Store, engine: Engine) {
    this.#store = store;
    this.#engine = engine;
  }

  /** Asks about the picture that is shown. False when it cannot be asked now. */
  ask(mode: Mode, input: string): boolean {
    const { image, tokens, status } = this.#store.state;
    const settings = offers(this.#store.state, "generate") ? this.#store.state.settings : undefined;
    const prompt = input.trim();
    if (prompt === "" || this.#stop !== undefined || !isRunning(status)) return false;
    const needsImage = mode === "segment" || mode === "edit";
    if (needsImage && image === undefined) return false;
    const about = mode === "generate" ? { image: undefined, tokens: undefined } : { image, tokens };
    void this.#run({ mode, input: prompt, settings, ...about });
    return true;
  }

  /** Asks, or puts into the text box what the person has to finish. */
  request({ mode, prompt, open }: Request): void {
    if (open === undefined) this.ask(mode, promptFor(mode, prompt));
    else this.#store.set({ mode, draft: { prompt, open } });
  }

  /** The same request with the next seed. */
  again(turn: Turn): void {
    if (this.#stop !== undefined || turn.settings === undefined) return;
    const settings = { ...this.#store.state.settings, seed: turn.settings.seed + 1 };
    this.#store.set({ settings });
    void this.#run({ ...turn, settings });
  }

  /** The same request as it was, after one that failed or was stopped. */
  retry(turn: Turn): void {
    if (this.#stop === undefined) void this.#run(turn);
  }

  stop(): void {
    this.#stop?.();
  }

  clear(): void {
    this.stop();
    this.#store.set({ turns: [], maskOverlays: [], announcement: "The conversation is cleared." });
  }

  async #run(question: Question): Promise<void> {
    const start = performance.now();
    const shown = this.#store.state.image;
    const turn = newTurn(this.#nextId, question);
    this.#nextId += 1;
    this.#store.set({ turns: [...this.#store.state.turns, turn], answering: true });
    let now = turn;
    const show = (next: Turn): void => {
      now = next;
      this.#store.set({ turns: this.#store.state.turns.map((each) => (each.id === turn.id ? next : each)) });
    };
    try {
      const answering = this.#engine.answer(turn, messagesOf(this.#store.state.turns));
      this.#stop = () => answering.abort();
      for await (const event of answering) show(afterEvent(now, event));
      const done = afterAnswer(now, await answering, performance.now() - start);
      show(
        done.generated === undefined
          ? done
          : { ...done, result: openImageFromData(done.generated.image, done.prompt, done.image) },
      );
      this.#mark(now);
      // An edit becomes the picture, unless another one was opened meanwhile.
      if (now.mode === "edit" && now.result !== undefined && this.#store.state.image === shown) {
        if (comparesEdits(this.#store.state)) this.#store.set({ view: "edit" });
        void this.#engine.show(now.result);
      }
    } catch (error) {
      const stopped = error instanceof SetokimError && error.code === "aborted";
      const time = performance.now() - start;
      show(
        stopped ? { ...now, state: "stopped", time } : { ...now, state: "failed", problem: this.#engine.failed(error) },
      );
    }
    this.#stop = undefined;
    this.#store.set({ answering: false, announcement: `Answer ${turn.id}: ${spoken(now)}` });
  }

  /** Shows the masks over their picture, if that is still the one that is shown. */
  #mark(turn: Turn): void {
    const { maskOverlays, image } = this.#store.state;
    if (image !== turn.image) return;
    const label = promptFor("segment", turn.input);
    const overlays = turn.masks.map((mask, index): MaskOverlay => ({ label, mask, color: maskColor(turn.id, index) }));
    if (overlays.length === 0) return;
    // A token in focus darkens the rest of the picture, and with it the masks.
    this.#store.set({ maskOverlays: [...maskOverlays, ...overlays], hovered: undefined, pinned: undefined });
  }
}

/** A whole answer for a screen reader. */
function spoken(turn: Turn): string {
  if (turn.state === "stopped") return "stopped.";
  if (turn.problem !== undefined) return turn.problem.message;
  const parts = [turn.text];
  if (turn.masks.length > 0) parts.push(`found ${promptFor("segment", turn.input)}, marked in the picture.`);
  if (turn.generated !== undefined) parts.push(`${describeImage(turn.generated)}.`);
  return parts.filter((part) => part !== "").join(" ") || "nothing.";
}
