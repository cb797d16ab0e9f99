// Before the first paint, so that a chosen colour scheme does not flash and nothing moves when the page's script has run.
// Kept apart: the page allows no inline script.
const root = document.documentElement;
try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
} catch {
  // storage is forbidden here: the system's scheme it is
}

// The world of the model that will be shown (src/models.ts); of one that is not listed nobody knows yet.
const listed = (root.dataset.models ?? "").split(" ").map((entry) => entry.split(":"));
const asked = new URLSearchParams(location.search).get("model");
const [, world = "drawn"] =
  listed.find(([folder]) => folder === asked) ?? (asked === null ? listed[0] : undefined) ?? [];
root.dataset.world = world;
