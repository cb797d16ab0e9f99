import { element } from "../dom.ts";
import type { Engine } from "../engine.ts";
import { count } from "../format.ts";
import { NetworkCounter } from "../network.ts";
import { isRunning, type Store } from "../state.ts";

/** How much has left this machine since the model was loaded: nothing, and the page can show it. */
export function mountPrivacy(store: Store, engine: Engine): void {
  const sent = element("sent", HTMLElement);
  const detail = element("sent-detail", HTMLElement);
  const show = (): void => {
    const requests = counter.requests + engine.requests;
    sent.textContent = requests === 0 ? "0 bytes sent" : count(requests, "request");
    sent.dataset["requests"] = String(requests);
    detail.textContent = !isRunning(store.state.status)
      ? "Your pictures stay on this machine."
      : requests === 0
        ? "0 requests since the model was loaded; your pictures stay on this machine."
        : "since the model was loaded; your pictures stay on this machine.";
  };
  const counter: NetworkCounter = new NetworkCounter(() => queueMicrotask(show));
  store.on(["status", "tokens", "reconstruction", "answering"], ({ status }) => {
    if (status.kind !== "failed") counter.count(isRunning(status));
    queueMicrotask(show);
  });
}
