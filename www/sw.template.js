/**
 * Keeps the page itself, so that it opens without a network; the model's weights are kept by the package. Made into
 * `sw.js` by vite.config.ts, which fills in the names of the built files.
 */

const version = "__VERSION__";
const files = __FILES__;
const name = `setokim-page-${version}`;

self.addEventListener("install", (event) => {
  event.waitUntil(
    caches
      .open(name)
      .then((cache) => cache.addAll(files))
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => names.filter((each) => each.startsWith("setokim-page-") && each !== name))
      .then((old) => Promise.all(old.map((each) => caches.delete(each))))
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || new URL(request.url).origin !== location.origin) return;
  if (request.mode === "navigate") {
    // The newest page where there is a network, the kept one where there is none.
    event.respondWith(
      fetch(request).catch(() => caches.match("./", { ignoreSearch: true, ignoreVary: true }).then(orError)),
    );
    return;
  }
  const kept = new URL(request.url);
  kept.search = "";
  if (!files.some((file) => new URL(file, location.href).href === kept.href)) return;
  event.respondWith(
    caches.match(request, { ignoreSearch: true, ignoreVary: true }).then((response) => response ?? fetch(request)),
  );
});

function orError(response) {
  return response ?? Response.error();
}
