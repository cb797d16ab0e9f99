import { create, element } from "../dom.ts";
import type { Store } from "../state.ts";

/** Under the samples: whose one is, or that a picture is not of the model's world; it takes the same room either way. */
export function mountHint(store: Store): void {
  const hint = element("hint", HTMLElement);
  const { world } = store.state;
  hint.append(create("span", "", world.hint));
  store.on(["tokens"], ({ tokens, image }) => {
    if (tokens === undefined) return;
    const strange = tokens.unfamiliar === true;
    const sample = world.samples.find(({ name }) => image?.sample === true && name === image.name);
    hint.replaceChildren(create("span", "", strange ? world.unfamiliar : world.hint));
    hint.classList.toggle("strange", strange);
    if (!strange && sample?.credit !== undefined) hint.append(" This one: ", creditLink(sample.credit), ".");
  });
}

function creditLink(credit: string): HTMLAnchorElement {
  const link = create("a", "muted", credit);
  link.href = "./NOTICE.txt";
  link.target = "_blank";
  return link;
}
