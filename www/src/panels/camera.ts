/** The camera: a dialog with what it sees and a shutter. It is on only while the dialog is open; nothing is kept or sent. */

import { context2d, create, element } from "../dom.ts";
import type { Engine } from "../engine.ts";
import { openImageFromCanvas } from "../image.ts";
import type { Store } from "../state.ts";

/** Which way it looks; the back of a phone sees what a person wants to ask about. */
type Side = "environment" | "user";

const reasons: Record<string, string> = {
  NotAllowedError:
    "This page may not use the camera. Allow it in the browser's settings for this page, then open it again.",
  NotFoundError: "There is no camera on this device.",
  OverconstrainedError: "There is no camera on this device.",
  NotReadableError: "Another program is using the camera. Close it there, then open it again.",
};
const UNKNOWN = "The camera could not be started. Photos can still be opened, dropped or pasted.";

export function mountCamera(store: Store, engine: Engine): void {
  const opener = element("take", HTMLButtonElement);
  // A page that is not served securely has no camera.
  opener.hidden = store.state.world.maker !== "camera" || navigator.mediaDevices?.getUserMedia === undefined;
  if (opener.hidden) return;
  const dialog = element("camera", HTMLDialogElement);
  const camera = new Camera();
  opener.addEventListener("click", () => {
    dialog.showModal();
    void camera.start();
  });
  element("camera-close", HTMLButtonElement).addEventListener("click", () => dialog.close());
  element("camera-switch", HTMLButtonElement).addEventListener("click", () => void camera.turn());
  element("camera-shutter", HTMLButtonElement).addEventListener("click", () => {
    const canvas = camera.picture();
    dialog.close();
    void engine.show(openImageFromCanvas(canvas, "Photo from the camera"));
  });
  dialog.addEventListener("close", () => camera.stop());
}

class Camera {
  readonly #video = element("camera-view", HTMLVideoElement);
  readonly #status = element("camera-status", HTMLElement);
  readonly #shutter = element("camera-shutter", HTMLButtonElement);
  readonly #turn = element("camera-switch", HTMLButtonElement);
  #side: Side = "environment";
  #stream: MediaStream | undefined;
  /** Starts and stops so far: a stream that comes after the next one is turned off again. */
  #calls = 0;

  async start(): Promise<void> {
    this.stop();
    const call = this.#calls;
    this.#say("Starting the camera …");
    try {
      const stream = await navigator.mediaDevices.getUserMedia({
        audio: false,
        video: { facingMode: this.#side, width: { ideal: 1920 }, height: { ideal: 1440 } },
      });
      if (call !== this.#calls) return turnOff(stream);
      this.#stream = stream;
      this.#video.srcObject = stream;
      this.#video.classList.toggle("mirrored", this.#side === "user");
      await this.#video.play();
      const devices = await navigator.mediaDevices.enumerateDevices();
      if (call !== this.#calls) return;
      this.#turn.hidden = devices.filter(({ kind }) => kind === "videoinput").length < 2;
      this.#shutter.disabled = false;
      this.#say("");
    } catch (error) {
      if (call !== this.#calls) return;
      this.stop();
      this.#say((error instanceof DOMException ? reasons[error.name] : undefined) ?? UNKNOWN);
    }
  }

  /** To the front or to the back. */
  async turn(): Promise<void> {
    this.#side = this.#side === "user" ? "environment" : "user";
    await this.start();
  }

  stop(): void {
    this.#calls += 1;
    this.#shutter.disabled = true;
    this.#video.srcObject = null;
    if (this.#stream !== undefined) turnOff(this.#stream);
    this.#stream = undefined;
  }

  /** What it sees now, the right way round even where the view is a mirror. */
  picture(): HTMLCanvasElement {
    const canvas = create("canvas", "");
    canvas.width = this.#video.videoWidth;
    canvas.height = this.#video.videoHeight;
    context2d(canvas).drawImage(this.#video, 0, 0);
    return canvas;
  }

  #say(words: string): void {
    this.#status.textContent = words;
  }
}

function turnOff(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}
