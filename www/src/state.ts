/** What the page shows, in one place. Panels read it and listen to the parts they need. */

import type {
  Color,
  DeviceChoice,
  DeviceReport,
  Dtype,
  LoadProgress,
  ModelInfo,
  ProbeReport,
  Reconstruction,
  SegmentationMask,
  Task,
  Tokenization,
  WeightTypes,
} from "setokim";
import type { History } from "./history.ts";
import type { Turn } from "./turn.ts";
import type { Mode, World } from "./worlds/world.ts";

export interface OpenImage {
  name: string;
  /** As it was given, or as the model drew it: what the engine reads. */
  source: Blob | ImageData;
  /** As it is shown: upright, at most 2,048 pixels on a side. */
  canvas: HTMLCanvasElement;
  sample: boolean;
  /** What it was made of by an edit, as it is shown. */
  before?: HTMLCanvasElement;
}

export interface Notice {
  /** The file that it is about. */
  subject?: string;
  message: string;
  remedy: string;
  code: string;
  /** A way out that one press can take. */
  action?: { label: string; run: () => void };
}

export type Status =
  /** The first visit: nothing of the model is downloaded before the person says so. */
  | { kind: "waiting" }
  | { kind: "loading"; progress: LoadProgress | undefined }
  | { kind: "ready" }
  | { kind: "working" }
  | { kind: "failed" };

/** The model is there. */
export function isRunning({ kind }: Status): boolean {
  return kind === "ready" || kind === "working";
}

/** The tokens, the picture beside what its tokens hold of it, or beside what it was before an edit. */
export type View = "tokens" | "compare" | "edit";

/** A mask that the model found, over the picture that is shown. */
export interface MaskOverlay {
  /** What was asked for. */
  label: string;
  mask: SegmentationMask;
  color: Color;
}

/** How images are generated. */
export interface GenerationSettings {
  seed: number;
  guidance: number;
  steps: number;
}

export interface State {
  readonly world: World;
  status: Status;
  choice: DeviceChoice;
  /** What the language model's weights are to be held in. */
  dtype: Dtype;
  device: DeviceReport | undefined;
  /** What they are held in; undefined until the model is loaded. */
  weights: WeightTypes | undefined;
  /** What a first load would do. */
  probe: ProbeReport | undefined;
  model: ModelInfo | undefined;
  /** What the model can do; undefined until it is loaded. */
  tasks: readonly Task[] | undefined;
  /** Milliseconds from the request to a model that is ready, and whether its weights came from storage. */
  loadTime: number | undefined;
  fromCache: boolean;

  image: OpenImage | undefined;
  /** `picture` is its last but for what was undone. */
  history: History;
  tokens: Tokenization | undefined;
  reconstruction: Reconstruction | undefined;
  /** Of the last run. */
  timings: Record<string, number> | undefined;

  view: View;
  overlay: boolean;
  opacity: number;
  /** The token under the pointer or the keyboard. */
  hovered: number | undefined;
  /** The token that was tapped or chosen; it stays until another is. */
  pinned: number | undefined;

  /** What the next words are for. */
  mode: Mode;
  /** Words that are put into the text box, and the part of them that the person is to choose. */
  draft: { prompt: string; open: string } | undefined;
  settings: GenerationSettings;
  /** The conversation, oldest first. It is kept here and nowhere else. */
  turns: readonly Turn[];
  /** An answer is on its way. */
  answering: boolean;
  maskOverlays: readonly MaskOverlay[];

  notice: Notice | undefined;
  /** Said to screen readers. */
  announcement: string;
}

export type Key = keyof State;

export class Store {
  readonly state: State;
  readonly #listeners: { keys: ReadonlySet<Key>; run: (state: State) => void }[] = [];

  constructor(state: State) {
    this.state = state;
  }

  set(change: Partial<State>): void {
    const changed = (Object.keys(change) as Key[]).filter((key) => this.state[key] !== change[key]);
    if (changed.length === 0) return;
    Object.assign(this.state, change);
    for (const { keys, run } of this.#listeners) {
      if (changed.some((key) => keys.has(key))) run(this.state);
    }
  }

  /** Calls `run` now and whenever one of the keys has changed. */
  on(keys: readonly Key[], run: (state: State) => void): void {
    this.#listeners.push({ keys: new Set(keys), run });
    run(this.state);
  }
}

export function initialState(world: World, choice: DeviceChoice, dtype: Dtype): State {
  return {
    world,
    status: { kind: "loading", progress: undefined },
    choice,
    dtype,
    device: undefined,
    weights: undefined,
    probe: undefined,
    model: undefined,
    tasks: undefined,
    loadTime: undefined,
    fromCache: false,
    image: undefined,
    history: { images: [], at: -1 },
    tokens: undefined,
    reconstruction: undefined,
    timings: undefined,
    view: "tokens",
    overlay: true,
    opacity: 0.45,
    hovered: undefined,
    pinned: undefined,
    mode: "chat",
    draft: undefined,
    settings: { seed: 0, guidance: 2, steps: 25 },
    turns: [],
    answering: false,
    maskOverlays: [],
    notice: undefined,
    announcement: "",
  };
}

/** Whether the model does this; until one is loaded, whether those of its world do. */
export function offers({ tasks, world }: State, task: Task): boolean {
  return (tasks ?? world.tasks).includes(task);
}

/** Whether edits are compared on the stage. Elsewhere it compares with what tokens hold, and edits in the conversation alone. */
export function comparesEdits(state: State): boolean {
  return offers(state, "edit") && !offers(state, "reconstruct");
}

/** What can be asked in words. */
export function modesOf(state: State): Mode[] {
  return (["chat", "segment", "generate", "edit"] as const).filter((task) => offers(state, task));
}

/** The token that the page talks about: the one pointed at, else the one chosen. */
export function focusedToken(state: State): number | undefined {
  return state.hovered ?? state.pinned;
}
