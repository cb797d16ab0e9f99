import { element } from "../dom.ts";
import type { Engine } from "../engine.ts";
import type { Store } from "../state.ts";

/** Choose, drop or paste a picture. */
export function mountOpen(store: Store, engine: Engine): void {
  element("open-words", HTMLElement).textContent = store.state.world.open;
  const open = (file: File | null | undefined): void => {
    if (file != null) void engine.open(file, file.name || "Pasted picture", false);
  };

  const input = element("file", HTMLInputElement);
  input.addEventListener("change", () => {
    open(input.files?.[0]);
    input.value = ""; // the same file may be chosen again
  });

  let depth = 0; // dragenter and dragleave come in pairs for every element that is crossed
  const show = (): void => void document.body.classList.toggle("dropping", depth > 0);
  const hasFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") === true;
  addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    depth += 1;
    show();
  });
  addEventListener("dragleave", (event) => {
    if (!hasFiles(event)) return;
    depth = Math.max(0, depth - 1);
    show();
  });
  addEventListener("dragover", (event) => {
    if (hasFiles(event)) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    show();
    open(event.dataTransfer?.files[0]);
  });

  addEventListener("paste", (event) => open(event.clipboardData?.files[0]));
}
