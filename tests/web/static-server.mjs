/**
 * The package as a plain web server would serve it: no bundler, no special headers but a strict content policy. For
 * tests only. Files: /pkg (built package), /models (shipped), /fixtures, /faults, and /lab.html, an empty page that
 * imports the package.
 * Given `examples` after the port: the built examples, each under its name, and a tiny model where they look for one.
 */

import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const labFolders = {
  "/pkg/": join(root, "pkg"),
  "/models/": join(root, "models"),
  "/fixtures/": join(root, "tests/fixtures"),
  "/faults/": join(root, "tests/web/faults"),
};
const exampleFolders = {
  "/vite/": join(root, "examples/vite/dist"),
  "/webpack/": join(root, "examples/webpack"),
  "/static/": join(root, "examples/static"),
  "/react/": join(root, "examples/react/dist"),
  "/own-worker/": join(root, "examples/own-worker/dist"),
  "/setokim/": join(root, "pkg"),
  "/models/setokim-tiny/": join(root, "tests/fixtures/tiny-setokim"),
};
const folders = process.argv[3] === "examples" ? exampleFolders : labFolders;
const types = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".json": "application/json",
  ".png": "image/png",
  ".wasm": "application/wasm",
};
const policy =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'; worker-src 'self'; img-src 'self' data: blob:";
const lab = `<!doctype html><html lang="en"><title>Lab</title><script type="module" src="/lab.js"></script></html>`;
const labScript = `import * as setokim from "/pkg/dist/index.js"; globalThis.lib = setokim;`;

createServer((request, response) => {
  const path = decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname);
  response.setHeader("Content-Security-Policy", policy);
  response.setHeader("Cache-Control", "no-cache");
  if (path === "/lab.html" || path === "/lab.js") {
    response.setHeader("Content-Type", types[extname(path)]);
    response.end(path === "/lab.html" ? lab : labScript);
    return;
  }
  const [prefix, folder] = Object.entries(folders).find(([name]) => path.startsWith(name)) ?? [];
  const file = folder === undefined ? undefined : normalize(join(folder, path.slice(prefix.length)));
  let size;
  try {
    if (file === undefined || !file.startsWith(folder + sep)) throw new Error("outside");
    const stat = statSync(file);
    if (!stat.isFile()) throw new Error("no file");
    size = stat.size;
  } catch {
    response.writeHead(404).end();
    return;
  }
  response.setHeader("Content-Type", types[extname(file)] ?? "application/octet-stream");
  const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
  const start = range === null ? 0 : Number(range[1]);
  if (start >= size && size > 0) {
    response.writeHead(416).end();
    return;
  }
  response.setHeader("Content-Length", size - start);
  if (range !== null) response.setHeader("Content-Range", `bytes ${start}-${size - 1}/${size}`);
  response.writeHead(range === null ? 200 : 206);
  createReadStream(file, { start }).pipe(response);
}).listen(Number(process.argv[2]), "127.0.0.1");
