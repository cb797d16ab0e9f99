import { create, element } from "../dom.ts";
import type { Store } from "../state.ts";

const usual =
  "Or drop or paste one anywhere. This small model has only seen emoji-like scenes such as these: photographs are beyond what it knows.";
const unlike = "This picture looks unlike the scenes that this small model was trained on; expect mistakes.";

/** The hint under the samples says so when a picture is not of the model's world; it takes the same room either way. */
export function mountHint(store: Store): void {
  const hint = element("hint", HTMLElement);
  store.on(["tokens"], ({ tokens }) => {
    if (tokens === undefined) return;
    const strange = tokens.unfamiliar === true;
    hint.replaceChildren(create("span", "", strange ? unlike : usual));
    hint.classList.toggle("strange", strange);
  });
}
