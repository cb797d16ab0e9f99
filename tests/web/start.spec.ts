/**
 * The package started from everywhere that a page's code can run: it works, or it says why not and what helps, and then
 * what helps is done, to the letter, and works. Each test brings servers of its own, on origins of their own.
 */

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { test as base, chromium, expect, type Page } from "@playwright/test";
import sirv from "sirv";
import { createServer as createVite6 } from "vite-6";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** What a server gives out: texts by their path, and folders by their prefix. */
interface Site {
  texts?: Record<string, string>;
  /** Sent with everything. */
  headers?: Record<string, string>;
  /** Answers a request in place of all others when it returns true. */
  guard?: (request: IncomingMessage, response: ServerResponse) => boolean;
}

const folders: Record<string, string> = {
  "/pkg": "pkg",
  "/tiny": "tests/fixtures/tiny-setokim",
  "/samples": "models/samples",
  "/node_modules/.vite/deps": "pkg/dist", // where Vite puts what it has bundled anew
};

const types: Record<string, string> = { html: "text/html", js: "text/javascript", json: "application/json" };

/** `serve` starts a server on an origin of its own, and tells it. */
const test = base.extend<{ serve: (site?: Site) => Promise<string> }>({
  // biome-ignore lint/correctness/noEmptyPattern: Playwright's form
  serve: async ({}, use) => {
    const servers: Server[] = [];
    await use(async ({ texts = {}, headers = {}, guard } = {}) => {
      const handlers = Object.entries(folders).map(([prefix, folder]) => ({
        prefix,
        handle: sirv(root + folder, { dev: true }),
      }));
      const server = createServer((request, response) => {
        for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
        if (guard?.(request, response) === true) return;
        const path = (request.url ?? "/").split("?")[0] ?? "/";
        const text =
          path === "/attempt.js"
            ? `export const attempt = ${attempt};`
            : path === "/"
              ? (texts["/"] ?? "<!doctype html><title>Page</title>")
              : texts[path];
        if (text !== undefined) {
          response.setHeader("Content-Type", types[path.split(".")[1] ?? "html"] ?? "text/plain");
          response.end(text);
          return;
        }
        const folder = handlers.find(({ prefix }) => path.startsWith(`${prefix}/`));
        if (folder === undefined) {
          response.writeHead(404).end();
          return;
        }
        request.url = request.url?.slice(folder.prefix.length);
        folder.handle(request, response, () => void response.writeHead(404).end());
      });
      servers.push(server);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    });
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  },
});

/** Open to other sites. */
const open = { "Access-Control-Allow-Origin": "*" };

/** As source, which every server has as `/attempt.js`, so that it runs wherever it is put: loads a model, looks at a picture, and says how it went. */
const attempt = `async (module, model, options) => {
  const { Setokim } = module;
  try {
    const setokim = await Setokim.load(model, { device: "cpu", cache: false, ...options });
    const { grid } = await setokim.tokenize(new Uint8Array(PICTURE));
    await setokim.dispose();
    return "works: " + grid.join();
  } catch (error) {
    return error.name + " " + error.code + ": " + error.message + " REMEDY " + error.remedy;
  }
}`.replace(
  "PICTURE",
  // A PNG of one grey pixel.
  JSON.stringify([
    ...Buffer.from(
      "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==",
      "base64",
    ),
  ]),
);

const works = /^works: \d+,\d+$/;

/** Imports the package from an address and tries it, in a page or a frame. */
function tryIn(page: Pick<Page, "evaluate">, pkg: string, model: string, options: object = {}): Promise<string> {
  return page.evaluate(
    async ({ from, folder, given }) => {
      const { attempt } = (await import(`${from}/attempt.js`)) as { attempt: (...input: unknown[]) => Promise<string> };
      return attempt(await import(`${from}/pkg/dist/index.js`), folder, given);
    },
    { from: pkg, folder: model, given: options },
  );
}

test("from a CDN, in a worker and without one", async ({ page, serve }) => {
  const [site, cdn] = [await serve(), await serve({ headers: open })];
  await page.goto(site);
  expect(await tryIn(page, cdn, `${site}/tiny/`)).toMatch(works);
  expect(await tryIn(page, cdn, `${site}/tiny/`, { worker: false })).toMatch(works);
});

test("with the worker alone on another origin", async ({ page, serve }) => {
  const [site, cdn] = [await serve(), await serve({ headers: open })];
  await page.goto(site);
  expect(await tryIn(page, site, "/tiny/", { workerUrl: `${cdn}/pkg/dist/worker.js` })).toMatch(works);
});

test("a worker on another origin that lets no others read it", async ({ page, serve }) => {
  const [site, cdn] = [await serve(), await serve()];
  await page.goto(site);
  const options = { workerUrl: `${cdn}/pkg/dist/worker.js` };
  const refused = await tryIn(page, site, "/tiny/", options);
  expect(refused).toMatch(
    /^SetokimError worker-unavailable: .*REMEDY .*Access-Control-Allow-Origin: \*.*`worker: false`/,
  );
  const opened = await serve({ headers: open });
  expect(await tryIn(page, site, "/tiny/", { workerUrl: `${opened}/pkg/dist/worker.js` })).toMatch(works);
  expect(await tryIn(page, site, "/tiny/", { ...options, worker: false })).toMatch(works);
});

test("in a sandboxed frame, which has no origin", async ({ page, serve }) => {
  const files = await serve({ headers: open });
  const site = await serve({ texts: { "/": `<iframe sandbox="allow-scripts" src="${files}/"></iframe>` } });
  await page.goto(site);
  const frame = await (await page.waitForSelector("iframe")).contentFrame();
  if (frame === null) throw new Error("no frame");
  await frame.waitForLoadState();
  expect(await frame.evaluate(() => globalThis.origin)).toBe("null");
  expect(await tryIn(frame, files, `${files}/tiny/`)).toMatch(works);
  expect(await tryIn(frame, files, `${files}/tiny/`, { worker: false, cache: true })).toMatch(works);
});

const policy = (rest: string): Record<string, string> => ({ "Content-Security-Policy": rest });

test("under a content policy without WebAssembly", async ({ page, serve }) => {
  const strict = await serve({ headers: policy("script-src 'self'; worker-src 'self'; connect-src 'self'") });
  for (const worker of [true, false]) {
    await page.goto(strict);
    const refused = await tryIn(page, "", "/tiny/", { worker });
    expect(refused).toMatch(/^SetokimError browser-unsupported: .*content policy.*REMEDY .*'wasm-unsafe-eval'/);
    const allowed = await serve({
      headers: policy("script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'"),
    });
    await page.goto(allowed);
    expect(await tryIn(page, "", "/tiny/", { worker })).toMatch(works);
  }
});

test("under a content policy without workers", async ({ page, serve }) => {
  const rest = "script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'";
  await page.goto(await serve({ headers: policy(`${rest}; worker-src 'none'`) }));
  const refused = await tryIn(page, "", "/tiny/");
  expect(refused).toMatch(
    /^SetokimError worker-unavailable: .*content policy.*REMEDY Add 'self' to worker-src .*`worker: false`/,
  );
  expect(await tryIn(page, "", "/tiny/", { worker: false })).toMatch(works);
  await page.goto(await serve({ headers: policy(`${rest}; worker-src 'self'`) }));
  expect(await tryIn(page, "", "/tiny/")).toMatch(works);
});

test("from a CDN under a content policy", async ({ page, serve }) => {
  const cdn = await serve({ headers: open });
  const rest = `script-src 'self' ${cdn} 'wasm-unsafe-eval'; connect-src 'self' ${cdn}`;
  await page.goto(await serve({ headers: policy(`${rest}; worker-src 'self'`) }));
  const refused = await tryIn(page, cdn, "/tiny/");
  expect(refused).toMatch(
    /^SetokimError worker-unavailable: .*content policy.*REMEDY Add blob: and http:\S+ to worker-src/,
  );
  await page.goto(await serve({ headers: policy(`${rest}; worker-src 'self' blob: ${cdn}`) }));
  expect(await tryIn(page, cdn, "/tiny/")).toMatch(works);
});

test("a model that the content policy does not let in", async ({ page, serve }) => {
  const models = await serve({ headers: open });
  const rest = "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'";
  for (const worker of [true, false]) {
    await page.goto(await serve({ headers: policy(rest) }));
    const refused = await tryIn(page, "", `${models}/tiny/`, { worker });
    expect(refused).toMatch(/^SetokimError network: .*content policy/);
    expect(refused).toContain(`REMEDY Add ${models} to connect-src`);
    await page.goto(await serve({ headers: policy(`${rest} ${models}`) }));
    expect(await tryIn(page, "", `${models}/tiny/`, { worker })).toMatch(works);
  }
});

test("a model on another site that does not let pages read it", async ({ page, serve }) => {
  const closed = await serve();
  const site = await serve();
  await page.goto(site);
  const refused = await tryIn(page, site, `${closed}/tiny/`);
  expect(refused).toMatch(/^SetokimError network: .*\(CORS\)/);
  expect(refused).toContain(`REMEDY Have ${closed} send \`Access-Control-Allow-Origin: *\``);
  expect(await tryIn(page, site, `${await serve({ headers: open })}/tiny/`)).toMatch(works);
  // Where nobody is, no server is blamed.
  const nobody = await tryIn(page, site, "http://127.0.0.1:9/tiny/");
  expect(nobody).toMatch(/^SetokimError network: /);
  expect(nobody).not.toContain("CORS");
});

test("a model behind a signature, behind a header, and behind a page's own fetch", async ({ page, serve }) => {
  const asks =
    (holds: (request: IncomingMessage) => boolean): NonNullable<Site["guard"]> =>
    (request, response) => {
      if (request.method === "OPTIONS") {
        response.writeHead(204, { "Access-Control-Allow-Headers": "Authorization" }).end();
        return true;
      }
      if (!request.url?.startsWith("/tiny/") || holds(request)) return false;
      response.writeHead(403).end();
      return true;
    };
  const site = await serve();
  await page.goto(site);
  const signed = await serve({ headers: open, guard: asks(({ url }) => url?.endsWith("?Signature=abc%2F") === true) });
  expect(await tryIn(page, site, `${signed}/tiny/?Signature=abc%2F`)).toMatch(works);
  const refused = await tryIn(page, site, `${signed}/tiny/`);
  expect(refused).toMatch(/^SetokimError network: .*403.*REMEDY .*`headers`.*`fetch`.*query/);

  const keyed = await serve({ headers: open, guard: asks(({ headers }) => headers.authorization === "Bearer k") });
  const headers = { Authorization: "Bearer k" };
  for (const worker of [true, false]) {
    expect(await tryIn(page, site, `${keyed}/tiny/`, { worker, headers })).toMatch(works);
    const own = await page.evaluate(
      async ({ from, model, inWorker }) => {
        let asked = 0;
        const fetchOwn = (url: string, init: RequestInit): Promise<Response> => {
          asked += 1;
          return fetch(url, { ...init, headers: { ...init.headers, Authorization: "Bearer k" } });
        };
        const { attempt } = (await import(`${from}/attempt.js`)) as {
          attempt: (...input: unknown[]) => Promise<string>;
        };
        const module = (await import(`${from}/pkg/dist/index.js`)) as object;
        return `${await attempt(module, model, { worker: inWorker, fetch: fetchOwn })} ${asked}`;
      },
      { from: site, model: `${keyed}/tiny/`, inWorker: worker },
    );
    expect(own).toMatch(/^works: \d+,\d+ 4$/);
  }
});

test("where a bundler lost the worker and the wasm", async ({ page, serve }) => {
  const site = await serve();
  await page.goto(site);
  const options = { workerUrl: "/assets/worker.js" };
  const refused = await tryIn(page, site, "/tiny/", options);
  expect(refused).toMatch(/^SetokimError worker-unavailable: .*404.*REMEDY .*esbuild.*`workerUrl`.*`wasmUrl`/);
  const noWasm = await tryIn(page, site, "/tiny/", { wasmUrl: "/assets/setokim_bg.wasm" });
  expect(noWasm).toMatch(/^SetokimError network: the WebAssembly module.*REMEDY .*setokim_bg\.wasm.*`wasmUrl`/);
  // A single-page server has a page for every address.
  const single = await serve({ texts: { "/worker.html": "<title>Page</title>", "/wasm.html": "<title>Page</title>" } });
  await page.goto(single);
  expect(await tryIn(page, single, "/tiny/", { workerUrl: "/worker.html" })).toMatch(
    /^SetokimError worker-unavailable: .*no script/,
  );
  expect(await tryIn(page, single, "/tiny/", { wasmUrl: "/wasm.html" })).toMatch(
    /^SetokimError network: .*something else/,
  );
  const told = { workerUrl: "/pkg/dist/worker.js", wasmUrl: "/pkg/wasm/setokim_bg.wasm" };
  expect(await tryIn(page, single, "/tiny/", told)).toMatch(works);
});

// Vite 8 keeps the worker and the wasm by itself: examples/vite.
test("with the development server of Vite 6, which bundles packages anew and loses what they name", async ({
  page,
}) => {
  const folder = mkdtempSync(`${tmpdir()}/setokim-vite-6-`);
  for (const [from, to] of [
    ["pkg/package.json", "node_modules/setokim/package.json"],
    ["pkg/dist", "node_modules/setokim/dist"],
    ["pkg/wasm", "node_modules/setokim/wasm"],
    ["tests/fixtures/tiny-setokim", "public/tiny"],
  ] as const) {
    cpSync(root + from, `${folder}/${to}`, { recursive: true });
  }
  writeFileSync(
    `${folder}/index.html`,
    `<!doctype html><title>Page</title><script type="module" src="/main.js"></script>`,
  );
  writeFileSync(
    `${folder}/main.js`,
    `import * as module from "setokim";
    const attempt = ${attempt};
    const outcomes = [await attempt(module, "/tiny/", {}), await attempt(module, "/tiny/", { worker: false })];
    document.title = JSON.stringify(outcomes);`,
  );
  const outcomes = async (optimizeDeps: { exclude?: string[] }): Promise<string[]> => {
    const server = await createVite6({ root: folder, configFile: false, logLevel: "silent", optimizeDeps });
    try {
      await server.listen(0);
      await page.goto(server.resolvedUrls?.local[0] ?? "");
      await expect(page).toHaveTitle(/^\[/, { timeout: 60_000 });
      return JSON.parse(await page.title()) as string[];
    } finally {
      await server.close();
    }
  };
  try {
    const remedy = 'REMEDY Add `optimizeDeps: { exclude: ["setokim"] }` to vite.config, and start the server anew.';
    const lost = await outcomes({});
    expect(lost).toEqual([
      expect.stringMatching(/^SetokimError worker-unavailable: .*Vite's dependency optimiser/),
      expect.stringMatching(/^SetokimError network: .*Vite's dependency optimiser/),
    ]);
    for (const outcome of lost) expect(outcome).toContain(remedy);
    expect(await outcomes({ exclude: ["setokim"] })).toEqual([
      expect.stringMatching(works),
      expect.stringMatching(works),
    ]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

// --- service workers and extensions

/** A background that tells how an attempt went to whoever asks. */
const background = (pkg: string, model: string, asks: string): string => `
import * as module from "${pkg}/dist/index.js";
const attempt = ${attempt};
const outcomes = (async () => [
  await attempt(module, "${model}", {}),
  await attempt(module, "${model}", { worker: false }),
  await attempt(module, "${model}", { worker: false, device: "auto", cache: true }),
])();
${asks}
`;

test.use({ serviceWorkers: "allow" });
test("in a service worker", async ({ page, serve }) => {
  const asks = `addEventListener("message", async ({ source }) => source.postMessage(await outcomes));`;
  const site = await serve({ texts: { "/sw.js": background("./pkg", "/tiny/", asks) } });
  await page.goto(site);
  const outcomes = await page.evaluate(async () => {
    const { serviceWorker } = navigator;
    const told = new Promise<string[]>((resolve) =>
      serviceWorker.addEventListener("message", ({ data }) => resolve(data)),
    );
    await serviceWorker.register("/sw.js", { type: "module" });
    serviceWorker.startMessages();
    (await serviceWorker.ready).active?.postMessage("how did it go?");
    return told;
  });
  expect(outcomes[0]).toMatch(/^SetokimError worker-unavailable: .*REMEDY Load with `worker: false`\.$/);
  expect(outcomes[1]).toMatch(works);
  expect(outcomes[2]).toMatch(works);
});

// Playwright's own page has no extensions; this browser has one.
test("in an extension: its background, its page, and its content script", async ({ serve }) => {
  const folder = mkdtempSync(`${tmpdir()}/setokim-extension-`);
  const site = await serve();
  for (const [from, to] of [
    ["pkg/dist", "pkg/dist"],
    ["pkg/wasm", "pkg/wasm"],
    ["tests/fixtures/tiny-setokim", "tiny"],
  ] as const) {
    cpSync(root + from, `${folder}/${to}`, { recursive: true });
  }
  const manifest = {
    manifest_version: 3,
    name: "Setokim",
    version: "1",
    background: { service_worker: "background.js", type: "module" },
    content_security_policy: { extension_pages: "script-src 'self' 'wasm-unsafe-eval'; object-src 'self'" },
    content_scripts: [{ matches: ["http://127.0.0.1/*"], js: ["content.js"] }],
    web_accessible_resources: [{ resources: ["pkg/*", "tiny/*"], matches: ["<all_urls>"] }],
  };
  const asks = `chrome.runtime.onMessage.addListener((_, __, answer) => { outcomes.then(answer); return true; });`;
  writeFileSync(`${folder}/manifest.json`, JSON.stringify(manifest));
  writeFileSync(`${folder}/background.js`, background("./pkg", "/tiny/", asks));
  writeFileSync(`${folder}/page.html`, `<!doctype html><title>Page</title>`);
  writeFileSync(
    `${folder}/content.js`,
    `(async () => {
      const module = await import(chrome.runtime.getURL("pkg/dist/index.js"));
      const model = chrome.runtime.getURL("tiny/");
      const attempt = ${attempt};
      const here = [await attempt(module, model, {}), await attempt(module, model, { worker: false })];
      document.title = JSON.stringify([...here, ...(await chrome.runtime.sendMessage("how did it go?"))]);
    })().catch((error) => (document.title = JSON.stringify([String(error)])));`,
  );
  const flags = JSON.parse(readFileSync(`${root}tests/browser/chromium-flags.json`, "utf8")) as string[];
  const context = await chromium.launchPersistentContext(`${folder}/profile`, {
    executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
    args: [...flags, `--disable-extensions-except=${folder}`, `--load-extension=${folder}`],
    ignoreDefaultArgs: ["--disable-extensions", "--disable-features=WebGPU"],
  });
  try {
    const page = await context.newPage();
    await page.goto(site);
    await expect(page).toHaveTitle(/^\[/, { timeout: 120_000 });
    const [inWorker, inThread, ...behind] = JSON.parse(await page.title()) as string[];
    expect([inWorker, inThread]).toEqual([expect.stringMatching(works), expect.stringMatching(works)]);
    expect(behind[0]).toMatch(/^SetokimError worker-unavailable: .*REMEDY Load with `worker: false`\.$/);
    expect(behind.slice(1)).toEqual([expect.stringMatching(works), expect.stringMatching(works)]);
  } finally {
    await context.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
