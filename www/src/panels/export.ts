import { drawOverlay, type Tokenization } from "setokim";
import { context2d, download, element } from "../dom.ts";
import type { Store } from "../state.ts";

/** The picture with its overlay as PNG, the tokens as JSON. */
export function mountExport(store: Store): void {
  const png = element("export-png", HTMLButtonElement);
  const json = element("export-json", HTMLButtonElement);
  store.on(["tokens"], ({ tokens }) => (png.disabled = json.disabled = tokens === undefined));

  png.addEventListener("click", () => {
    const { picture, tokens, opacity, pinned } = store.state;
    if (picture === undefined || tokens === undefined) return;
    // Small pictures are enlarged, so that the outlines are smooth.
    const scale = Math.max(1, 1024 / Math.max(picture.canvas.width, picture.canvas.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(picture.canvas.width * scale);
    canvas.height = Math.round(picture.canvas.height * scale);
    const context = context2d(canvas);
    context.imageSmoothingQuality = "high";
    context.drawImage(picture.canvas, 0, 0, canvas.width, canvas.height);
    drawOverlay(context, tokens, { opacity, highlight: pinned, lineWidth: Math.max(1, canvas.width / 420) });
    canvas.toBlob((blob) => {
      if (blob !== null) download(blob, `${baseName(picture.name)}-tokens.png`);
    }, "image/png");
  });

  json.addEventListener("click", () => {
    const { picture, tokens } = store.state;
    if (picture === undefined || tokens === undefined) return;
    const text = JSON.stringify(plainTokens(tokens), null, 2);
    download(new Blob([text], { type: "application/json" }), `${baseName(picture.name)}-tokens.json`);
  });
}

/** The same object as `setokim tokenize --json` prints: the labels become a plain list. */
export function plainTokens(tokens: Tokenization): Omit<Tokenization, "labels"> & { labels: number[] } {
  return { ...tokens, labels: Array.from(tokens.labels) };
}

function baseName(name: string): string {
  return name.replace(/\.[A-Za-z]+$/, "").trim().toLowerCase().replaceAll(/\s+/g, "-") || "picture";
}
