import { element } from "../dom.ts";
import { savePreference } from "../preferences.ts";

const themes = ["auto", "light", "dark"] as const;
type Theme = (typeof themes)[number];

const names: Record<Theme, string> = { auto: "as the system says", light: "light", dark: "dark" };

/** Colours: the system's, light or dark; remembered. */
export function mountTheme(): void {
  const button = element("theme", HTMLButtonElement);
  let theme = themes.find((known) => known === document.documentElement.dataset["theme"]) ?? "auto";
  const show = (): void => {
    document.documentElement.dataset["theme"] = theme;
    button.setAttribute("aria-label", `Colours: ${names[theme]}`);
    button.title = `Colours: ${names[theme]}`;
  };
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length] ?? "auto";
    savePreference("theme", theme);
    show();
  });
  show();
}
