import { create, element } from "../dom.ts";
import type { Store } from "../state.ts";

/** Under the samples: whose one is, or that a picture is not of the model's world; it takes the same room either way. */
export function mountHint(store: Store): void {
  const hint = element("hint", HTMLElement);
  const { world } = store.state;
  const show = (words: string, isStrange: boolean): void => {
    hint.replaceChildren(create("span", "", words));
    hint.classList.toggle("strange", isStrange);
  };
  show(world.hint, false);
  store.on(["tokens"], ({ tokens, image }) => {
    if (tokens === undefined) return;
    const strange = tokens.unfamiliar === true;
    const credit = image?.sample === true ? world.samples.find(({ name }) => name === image.name)?.credit : undefined;
    const usual = credit === undefined ? world.hint : `${world.hint} This one: ${credit}.`;
    show(strange ? world.unfamiliar : usual, strange);
  });
}
