import { type Color, drawOverlay, type Mask, maskToImageData, type Tokenization, tokenMask } from "setokim";
import { context2d, create, download, element, savePng } from "../dom.ts";
import { fileName } from "../format.ts";
import { canvasFromImage, scaled, wholeCanvas } from "../image.ts";
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
  const items = [pngItem("The picture", name, () => wholeCanvas(image))];
  if (tokens !== undefined) {
    const overlay = (): HTMLCanvasElement => withTokens(image, tokens, opacity, pinned);
    const text = (): string => JSON.stringify(plainTokens(tokens), null, 2);
    items.push(pngItem("The picture with its tokens", `${name}-tokens`, overlay), {
      kind: "JSON",
      label: "The tokens",
      run: () => saveText(text(), "application/json", `${name}-tokens.json`),
    });
    if (pinned !== undefined) {
      items.push(
        pngItem("The chosen token, cut out", `${name}-cut`, () => cutOut(image, tokenMask(tokens, pinned, "image"))),
      );
    }
  }
  const masks = maskOverlays.flatMap((overlay) => [
    pngItem(`The mask of ${overlay.label}`, `${fileName(overlay.label)}-mask`, () => maskCanvas(overlay)),
    pngItem(`The cut-out of ${overlay.label}`, `${fileName(overlay.label)}-cut`, () => cutOut(image, overlay.mask)),
  ]);
  return [...items, ...masks];
}

function pngItem(label: string, name: string, draw: () => HTMLCanvasElement | Promise<HTMLCanvasElement>): MenuItem {
  return { kind: "PNG", label, run: () => void Promise.resolve(draw()).then((canvas) => savePng(canvas, name)) };
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

/** The picture in all its pixels where the mask is, transparent elsewhere. */
async function cutOut(image: OpenImage, mask: Mask): Promise<HTMLCanvasElement> {
  const whole = await wholeCanvas(image);
  const canvas = create("canvas", "");
  canvas.width = whole.width;
  canvas.height = whole.height;
  const context = context2d(canvas);
  context.drawImage(canvasFromImage(maskToImageData(mask, WHITE)), 0, 0, whole.width, whole.height);
  context.globalCompositeOperation = "source-in";
  context.drawImage(whole, 0, 0);
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
