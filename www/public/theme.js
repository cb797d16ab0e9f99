// Before the first paint, so that a chosen colour scheme does not flash. Kept apart: the page allows no inline script.
try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // storage is forbidden here: the system's scheme it is
}
