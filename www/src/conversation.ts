/** Runs the conversation: one question at a time, each as a turn of the store that grows while its answer comes. */

import { SetokimError, type AnswerTask } from "setokim";
import type { Engine } from "./engine.ts";
import { markColor } from "./marks.ts";
import { pictureFromDrawing } from "./picture.ts";
import { isRunning, type Mark, type Store } from "./state.ts";
import { afterAnswer, afterEvent, messagesOf, newTurn, wordsFor, type Question, type Turn } from "./turn.ts";

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
  ask(mode: AnswerTask, typed: string): boolean {
    const { picture, tokens, settings, status } = this.#store.state;
    const words = typed.trim();
    if (words === "" || this.#stop !== undefined || !isRunning(status)) return false;
    const needsPicture = mode === "segment" || mode === "edit";
    if (needsPicture && picture === undefined) return false;
    const about = mode === "generate" ? { picture: undefined, tokens: undefined } : { picture, tokens };
    void this.#run({ mode, typed: words, settings, ...about });
    return true;
  }

  /** The same request with the next seed. */
  again(turn: Turn): void {
    if (this.#stop !== undefined) return;
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
    this.#store.set({ turns: [], marks: [], announcement: "The conversation is cleared." });
  }

  async #run(question: Question): Promise<void> {
    const start = performance.now();
    const shown = this.#store.state.picture;
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
      show(done.drawing === undefined ? done : { ...done, result: pictureFromDrawing(done.drawing, done.words) });
      this.#mark(now);
      // An edit becomes the picture, unless another one was opened meanwhile.
      if (now.mode === "edit" && now.result !== undefined && this.#store.state.picture === shown) {
        void this.#engine.show(now.result);
      }
    } catch (error) {
      const stopped = error instanceof SetokimError && error.code === "aborted";
      const time = performance.now() - start;
      show(stopped ? { ...now, state: "stopped", time } : { ...now, state: "failed", problem: this.#engine.failed(error) });
    }
    this.#stop = undefined;
    this.#store.set({ answering: false, announcement: `Answer ${turn.id}: ${spoken(now)}` });
  }

  /** Shows what was found over its picture, if that is still the one that is shown. */
  #mark(turn: Turn): void {
    const { marks, picture } = this.#store.state;
    if (picture !== turn.picture) return;
    const label = wordsFor("segment", turn.typed);
    const found = turn.masks.map((mask, index): Mark => ({ label, mask, color: markColor(turn.id, index) }));
    if (found.length === 0) return;
    // A token in focus darkens the rest of the picture, and with it what was found.
    this.#store.set({ marks: [...marks, ...found], hovered: undefined, pinned: undefined });
  }
}

/** A whole answer for a screen reader. */
function spoken(turn: Turn): string {
  if (turn.state === "stopped") return "stopped.";
  if (turn.problem !== undefined) return turn.problem.message;
  const parts = [turn.text];
  if (turn.masks.length > 0) parts.push(`found ${wordsFor("segment", turn.typed)}, marked in the picture.`);
  if (turn.drawing !== undefined) parts.push(`a picture of ${turn.drawing.tokens.length} tokens.`);
  return parts.filter((part) => part !== "").join(" ") || "nothing.";
}
