import { create, element } from "../dom.ts";
import type { Engine } from "../engine.ts";
import type { Store } from "../state.ts";

/** The strip of sample pictures. The first one is opened at once, unless the person was quicker. */
export async function mountSamples(store: Store, engine: Engine): Promise<void> {
  const strip = element("strip", HTMLElement);
  const samples = store.state.world.samples.map((sample) => ({ ...sample, button: create("button", "sample") }));
  for (const { name, button } of samples) {
    button.type = "button";
    button.setAttribute("aria-label", `Sample: ${name}`);
    button.title = name;
    button.disabled = true;
    strip.append(button);
  }
  store.on(["image"], ({ image }) => {
    for (const { name, button } of samples) {
      button.setAttribute("aria-pressed", String(image?.sample === true && image.name === name));
    }
  });

  let waiting = true;
  await Promise.all(
    samples.map(async ({ file, name, button }, index) => {
      let blob: Blob;
      try {
        const response = await fetch(`models/samples/${file}`);
        if (!response.ok) throw new Error(String(response.status));
        blob = await response.blob();
      } catch {
        button.remove(); // a sample less
        return;
      }
      const image = create("img", "");
      image.alt = "";
      image.width = image.height = 72;
      image.src = URL.createObjectURL(blob);
      button.append(image);
      button.disabled = false;
      button.addEventListener("click", () => void engine.open(blob, name, true));
      if (index === 0 && waiting && store.state.image === undefined) {
        waiting = false;
        await engine.open(blob, name, true);
      }
    }),
  );
}
