import { element } from "../dom.ts";
import { sentence } from "../format.ts";
import type { Store } from "../state.ts";

/** What went wrong, in words, and what to do; the rest of the page goes on working. */
export function mountNotice(store: Store): void {
  const box = element("notice", HTMLElement);
  const message = element("notice-message", HTMLElement);
  const remedy = element("notice-remedy", HTMLElement);
  const code = element("notice-code", HTMLElement);
  const action = element("notice-action", HTMLButtonElement);
  element("notice-close", HTMLButtonElement).addEventListener("click", () => store.set({ notice: undefined }));
  action.addEventListener("click", () => store.state.notice?.action?.run());
  store.on(["notice"], ({ notice }) => {
    box.hidden = notice === undefined;
    const text = notice === undefined ? "" : sentence(notice.message);
    message.textContent = notice?.subject === undefined ? text : `${notice.subject}: ${text}`;
    remedy.textContent = notice?.remedy ?? "";
    code.textContent = notice?.code ?? "";
    action.hidden = notice?.action === undefined;
    action.textContent = notice?.action?.label ?? "";
  });
}
