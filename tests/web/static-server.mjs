/**
 * The package as a plain web server would serve it: no bundler, no special headers but a strict content policy. For
 * tests only. Files: /pkg (built package), /models (shipped), /fixtures, /faults, and /lab.html, an empty page that
 * imports the package.
 * Given `examples` after the port: the built examples, each under its name, and a tiny model where they look for one.
 */

import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import sirv from "sirv";

const folders =
  process.argv[3] === "examples"
    ? {
        "/vite": "examples/vite/dist",
        "/webpack": "examples/webpack",
        "/static": "examples/static",
        "/react": "examples/react/dist",
        "/own-worker": "examples/own-worker/dist",
        "/esbuild": "examples/esbuild/dist",
        "/setokim": "pkg",
        "/models/setokim-tiny": "tests/fixtures/tiny-setokim",
      }
    : { "/pkg": "pkg", "/models": "models", "/fixtures": "tests/fixtures", "/faults": "tests/web/faults" };
const policy =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'; worker-src 'self'; img-src 'self' data: blob:";
const pages = {
  "/lab.html": [
    "text/html",
    `<!doctype html><html lang="en"><title>Lab</title><script type="module" src="/lab.js"></script></html>`,
  ],
  "/lab.js": ["text/javascript", `import * as setokim from "/pkg/dist/index.js"; globalThis.lib = setokim;`],
};

const servers = Object.entries(folders).map(([prefix, folder]) => ({
  prefix,
  serve: sirv(fileURLToPath(new URL(`../../${folder}`, import.meta.url)), { dev: true }), // files may come later
}));

createServer((request, response) => {
  const { url = "/" } = request;
  response.setHeader("Content-Security-Policy", policy);
  response.setHeader("Cache-Control", "no-cache");
  const page = pages[url.split("?")[0]];
  if (page !== undefined) {
    response.setHeader("Content-Type", page[0]);
    response.end(page[1]);
    return;
  }
  const { prefix, serve } = servers.find((each) => url.startsWith(`${each.prefix}/`)) ?? {};
  if (serve === undefined) {
    response.writeHead(404).end();
    return;
  }
  request.url = url.slice(prefix.length);
  serve(request, response);
}).listen(Number(process.argv[2]), "127.0.0.1");
