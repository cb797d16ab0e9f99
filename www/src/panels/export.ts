import { type Color, drawOverlay, maskToImageData, type Tokenization } from "setokim";
import { context2d, create, download, element, savePng } from "../dom.ts";
import { fileName } from "../format.ts";
import { canvasFromImage, scaled } from "../image.ts";
import { type MenuItem, openMenu, placeUnder } from "../menu.ts";
import type { MaskOverlay, OpenImage, Store } from "../state.ts";
import { asJson, asMarkdown } from "../transcript.ts";

const WHITE: Color = { r: 255, g: 255, b: 255 };

/** Everything that can be saved: the picture, its masks, its tokens, the conversation. */
export function mountExport(store: Store): void {
  const imageButton = element("export", HTMLButtonElement);
  store.on(["image"], ({ image }) => (imageButton.disabled = image === undefined));
  imageButton.addEventListener("click", () => {
    openMenu("Save", imageItems(store), placeUnder(imageButton));
  });
  const chatButton = element("chat-save", HTMLButtonElement);
  store.on(["turns"], ({ turns }) => (chatButton.hidden = turns.length === 0));
  chatButton.addEventListener("click", () => {
    openMenu("Save the conversation", conversationItems(store), placeUnder(chatButton));
  });
}

function imageItems({ state: { image, tokens, opacity, pinned, maskOverlays } }: Store): MenuItem[] {
  if (image === undefined) return [];
  const name = fileName(image.name);
  const items: MenuItem[] = [{ kind: "PNG", label: "The picture", run: () => savePng(image.canvas, name) }];
  if (tokens !== undefined) {
    const overlay = (): HTMLCanvasElement => withTokens(image, tokens, opacity, pinned);
    const text = (): string => JSON.stringify(plainTokens(tokens), null, 2);
    items.push(
      { kind: "PNG", label: "The picture with its tokens", run: () => savePng(overlay(), `${name}-tokens`) },
      { kind: "JSON", label: "The tokens", run: () => saveText(text(), "application/json", `${name}-tokens.json`) },
    );
  }
  const masks = maskOverlays.map(
    (overlay): MenuItem => ({
      kind: "PNG",
      label: `The mask of ${overlay.label}`,
      run: () => savePng(maskCanvas(overlay), `${fileName(overlay.label)}-mask`),
    }),
  );
  return [...items, ...masks];
}

function conversationItems({ state: { turns, model } }: Store): MenuItem[] {
  const name = model?.name ?? "the model";
  return [
    {
      kind: "MD",
      label: "As text (Markdown)",
      run: () => saveText(asMarkdown(turns, name), "text/markdown", "conversation.md"),
    },
    {
      kind: "JSON",
      label: "As data",
      run: () => saveText(asJson(turns, name), "application/json", "conversation.json"),
    },
  ];
}

function saveText(text: string, type: string, name: string): void {
  download(new Blob([text], { type }), name);
}

function withTokens(
  { canvas: from }: OpenImage,
  tokens: Tokenization,
  opacity: number,
  pinned: number | undefined,
): HTMLCanvasElement {
  // Small pictures are enlarged, so that the outlines are smooth.
  const canvas = scaled(from, Math.max(1024, from.width, from.height));
  drawOverlay(context2d(canvas), tokens, { opacity, highlight: pinned, lineWidth: Math.max(1, canvas.width / 420) });
  return canvas;
}

/** White where the thing is, black elsewhere, in the picture's own pixels. */
function maskCanvas({ mask }: MaskOverlay): HTMLCanvasElement {
  const canvas = create("canvas", "");
  canvas.width = mask.width;
  canvas.height = mask.height;
  const context = context2d(canvas);
  context.fillRect(0, 0, mask.width, mask.height);
  context.drawImage(canvasFromImage(maskToImageData(mask, WHITE)), 0, 0);
  return canvas;
}

/** The same object as `setokim tokenize --json` prints, under the names that files have. */
export function plainTokens({ labels, names, timingsMs, ...tokens }: Tokenization): Record<string, unknown> {
  return {
    ...tokens,
    labels: Array.from(labels),
    names: names?.map(({ isObject, ...name }) => ({ ...name, is_object: isObject })) ?? null,
    timings_ms: timingsMs,
  };
}
