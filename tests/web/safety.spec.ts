/** What the page and its server must never do: run what a stranger wrote, give out other files, keep or send pictures. */

import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { expect, type Page } from "@playwright/test";
import { dropFile, fixtureBytes, openPage, port, settled, test } from "./helpers.ts";

const fake = readFileSync(new URL("./fake-model.js", import.meta.url), "utf8");

/** Each part would leave a trace if it were taken for HTML. */
const hostile = `<img src="x" onerror="window.stolen = 1" data-hostile><script data-hostile>window.stolen = 1</script>&lt;b&gt;`;

async function expectNoTrace(page: Page): Promise<void> {
  await expect(page.locator("[data-hostile]")).toHaveCount(0);
  expect(await page.evaluate(() => "stolen" in globalThis)).toBe(false);
}

test("the words of a model, the names of tokens and of files are text and nothing else", async ({ page }) => {
  const body = fake
    .replace(`"an owl, a red balloon and a cat on a beach"`, JSON.stringify(hostile))
    .replace(`name: "owl"`, `name: ${JSON.stringify(hostile)}`);
  expect(body.split("data-hostile")).toHaveLength(5);
  await page.route(/\/worker-[^/]*\.js$/, (route) => route.fulfill({ body, contentType: "text/javascript" }));
  await openPage(page);
  await page.locator("#words").fill(hostile);
  await page.locator("#words").press("Enter");
  await settled(page);
  await page.locator("#words").fill("what do you see?");
  await page.locator("#words").press("Enter");
  await settled(page);
  await expect(page.locator(".asked-words").first()).toContainText(hostile);
  await expect(page.locator(".answer-text").last()).toHaveText(hostile);
  await expect(page.locator("#token-list")).toContainText("onerror");
  await expectNoTrace(page);

  await dropFile(page, fixtureBytes("noise.png"), `${hostile}.png`);
  await settled(page);
  await expectNoTrace(page);
  await dropFile(page, Buffer.from("no picture"), `${hostile}.gif`, "image/gif");
  await expect(page.locator("#notice-message")).toContainText("onerror");
  await expectNoTrace(page);
});

test("no picture and no word is kept or sent", async ({ page, context, baseURL }) => {
  const asked: string[] = [];
  context.on("request", (request) => asked.push(request.url()));
  await page.route(/\/worker-[^/]*\.js$/, (route) => route.fulfill({ body: fake, contentType: "text/javascript" }));
  await openPage(page);
  await dropFile(page, fixtureBytes("noise.png"), "my-secret-picture.png");
  await settled(page);
  await page.locator("#words").fill("my secret question");
  await page.locator("#words").press("Enter");
  await settled(page);
  const kept = await page.evaluate(async () => {
    const files: string[] = [];
    const walk = async (folder: FileSystemDirectoryHandle): Promise<void> => {
      for await (const [name, handle] of folder.entries()) {
        if (handle instanceof FileSystemDirectoryHandle) await walk(handle);
        else files.push(name);
      }
    };
    await walk(await navigator.storage.getDirectory());
    const databases = await indexedDB.databases();
    return {
      files,
      databases,
      caches: await caches.keys(),
      words: JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]),
    };
  });
  // The stand-in for the model stores no weights, so what is left would be the page's own doing.
  expect({ files: kept.files, databases: kept.databases, caches: kept.caches }).toEqual({
    files: [],
    databases: [],
    caches: [],
  });
  expect(kept.words).not.toContain("secret");
  expect(asked.length).toBeGreaterThan(5);
  expect(asked.filter((url) => !url.startsWith(String(baseURL)) && !/^(blob|data):/.test(url))).toEqual([]);
  expect(asked.filter((url) => url.includes("secret"))).toEqual([]);
});

/** A request as no browser would send it; the whole answer. */
function raw(path: string, host = "127.0.0.1"): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, host, () =>
      socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`),
    );
    let answer = "";
    socket.on("data", (data) => (answer += data.toString("latin1")));
    socket.on("end", () => resolve(answer));
    socket.on("error", reject);
  });
}

// The server of `cargo xtask demo` is the one that these tests run against.
test("the demo's server gives out its folder only", async () => {
  expect(await raw("/models/tiny/config.json")).toContain("tiny-model");
  const climbs = ["../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "....//"];
  const starts = ["/", "/models/", "/models/tiny/", "/models/tiny-setokim/", "/assets/", "/@fs/", "/@fs/etc/"];
  const targets = ["Cargo.toml", "package.json", "www/vite.config.ts", "etc/passwd"];
  for (const start of starts) {
    for (const climb of climbs) {
      for (const target of targets) {
        for (const depth of [1, 2, 3, 12]) {
          const path = `${start}${climb.repeat(depth)}${target}`;
          const answer = await raw(path);
          expect(answer, path).not.toMatch(/\[workspace\]|"workspaces"|defineConfig|root:x:/);
        }
      }
    }
  }
  expect(await raw("/models/tiny/%E0%A4%A")).toMatch(/^HTTP\/1\.1 [45]/);
  expect(await raw("/"), "and lives on").toMatch(/^HTTP\/1\.1 200/);
});

test("the demo's server listens on loopback only, and sets its headers", async () => {
  // 127.0.0.2 is loopback as well, but only who listens on all addresses answers there.
  await expect(raw("/", "127.0.0.2")).rejects.toMatchObject({ code: "ECONNREFUSED" });
  const page = await raw("/");
  expect(page).toMatch(/^Content-Security-Policy: default-src 'none'/im);
  expect(page).not.toMatch(/unsafe-inline|unsafe-eval'(?<!wasm-unsafe-eval')/);
  expect(page).toMatch(/^X-Content-Type-Options: nosniff/im);
  expect(page).toMatch(/^Referrer-Policy: no-referrer/im);
});

test("the self-test page runs every task, and its report can be copied", async ({ page, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.goto("./selftest.html");
  await page.getByRole("button", { name: "Run" }).click();
  await expect(page.locator("#status")).toHaveText("Done", { timeout: 200_000 });
  await page.getByRole("button", { name: "Copy the report" }).click();
  await expect(page.locator("#status")).toHaveText("Copied");
  const report = await page.evaluate(() => navigator.clipboard.readText());
  for (const task of ["load", "tokenize", "reconstruct", "chat", "segment", "generate", "edit"]) {
    expect(report).toMatch(new RegExp(`^${task} +ok, \\d+ ms$`, "m"));
  }
  expect(report).toMatch(/^runs on +cpu/m);
  expect(report).toMatch(/^requests since the load +0$/m);
  expect(report).toContain(await page.evaluate(() => navigator.userAgent));
});
