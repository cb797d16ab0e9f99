/**
 * The package beside its peers, in one run of one browser on the same weights: `cargo xtask bench --peers`.
 *
 * node run.mjs --encoder FILE.onnx --wide FOLDER --siglip FOLDER --gguf FILE.gguf --out FILE.json [--runs N]
 */

import { createReadStream, readFileSync, writeFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { cpus } from "node:os";
import { extname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "@playwright/test";

const here = fileURLToPath(new URL(".", import.meta.url));
const root = fileURLToPath(new URL("../..", import.meta.url));
const { values: options } = parseArgs({
  options: {
    encoder: { type: "string" },
    wide: { type: "string" }, // encoder.onnx, and the model folder in `packed`
    siglip: { type: "string" }, // the same
    gguf: { type: "string" },
    out: { type: "string" },
    runs: { type: "string", default: "3" },
  },
});
const runs = Number(options.runs);

// About 256 tokens, of ordinary English.
const PROMPT = readFileSync(join(here, "prompt.txt"), "utf8").trim();

const folders = {
  "/bench/": here,
  "/pkg/": join(root, "pkg"),
  "/model/": join(root, "models/setokim-tiny"),
  "/wide/": join(options.wide, "packed"),
  "/siglip/": join(options.siglip, "packed"),
  "/ort/": join(here, "node_modules/onnxruntime-web/dist"),
  "/wllama/": join(here, "node_modules/@wllama/wllama/esm"),
};
const files = {
  "/": join(here, "page.html"),
  "/sample.png": join(root, "models/samples/beach.png"),
  "/encoder.onnx": options.encoder,
  "/wide.onnx": join(options.wide, "encoder.onnx"),
  "/siglip.onnx": join(options.siglip, "encoder.onnx"),
  "/smollm2.gguf": options.gguf,
};
const types = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };

function find(path) {
  if (files[path] !== undefined) return files[path];
  const [prefix, folder] = Object.entries(folders).find(([start]) => path.startsWith(start)) ?? [];
  const file = folder && normalize(join(folder, path.slice(prefix.length)));
  return file?.startsWith(normalize(folder + sep)) ? file : undefined;
}

async function serve() {
  const server = createServer(async (request, response) => {
    const file = find(new URL(request.url, "http://localhost").pathname);
    const found = file && (await stat(file).catch(() => undefined));
    if (!found?.isFile()) return response.writeHead(404).end();
    response.writeHead(200, {
      "Content-Type": types[extname(file)] ?? "application/octet-stream",
      "Content-Length": found.size,
    });
    createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, address: `http://127.0.0.1:${server.address().port}/` };
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
const spread = (numbers) => ({ median: median(numbers), min: Math.min(...numbers), max: Math.max(...numbers) });

/**
 * Times some programs on the same work, taking turns so that a slow minute of the machine hits all of them; the first turn
 * warms up. A single run takes minutes, and has no such turn.
 */
async function compare(page, names, input, count = runs) {
  const results = Object.fromEntries(names.map((name) => [name, []]));
  const failed = {};
  for (let run = count > 1 ? -1 : 0; run < count; run++) {
    for (const name of names.filter((each) => failed[each] === undefined)) {
      try {
        const result = await page.evaluate(([which, what]) => globalThis.once(which, what), [name, input]);
        if (run >= 0) results[name].push(result);
      } catch (error) {
        failed[name] = error.message.split("\n")[0];
      }
    }
  }
  return { results, failed };
}

async function prepare(page, names) {
  const failed = {};
  for (const name of names) {
    console.log(`loading ${name}`);
    await page
      .evaluate((which) => globalThis.prepare(which), name)
      .catch((error) => (failed[name] = error.message.split("\n")[0]));
  }
  return failed;
}

async function measure(browser, address, names, work) {
  const page = await browser.newPage();
  await page.goto(address);
  await page.waitForFunction(() => globalThis.once !== undefined);
  const notLoaded = await prepare(page, names);
  const usable = names.filter((name) => notLoaded[name] === undefined);
  const rows = await work(page, usable);
  for (const [name, message] of Object.entries(notLoaded)) rows.push({ program: name, failed: message });
  await page.close();
  return rows;
}

const timesOf = (what, { results, failed }, key, unit) => [
  ...Object.entries(results)
    .filter(([, list]) => list.length > 0)
    .map(([program, list]) => ({ what, program, unit, runs: list.length, ...spread(list.map((each) => each[key])) })),
  ...Object.entries(failed).map(([program, message]) => ({ what, program, failed: message })),
];

/**
 * How far the programs' first numbers are apart: they must do the same work to be compared. SigLIP's features are several
 * units large, and its weights are rounded to 8 bits on one side only.
 */
function checkSame(results) {
  const [first, ...others] = Object.values(results).map((list) => list[0]?.values).filter(Boolean);
  const size = Math.hypot(...first) / Math.sqrt(first.length);
  for (const other of others) {
    const worst = Math.max(...first.map((value, i) => Math.abs(value - other[i])));
    if (!(worst < 0.02 * Math.max(1, size))) throw new Error(`the encoders disagree by ${worst}`);
  }
}

async function encoder(browser, address, which, [device, provider], what, count = runs) {
  const names = [`${which} setokim ${device}`, `${which} onnxruntime ${provider}`];
  return measure(browser, address, names, async (page, usable) => {
    const compared = await compare(page, usable, undefined, count);
    checkSame(compared.results);
    return timesOf(what, compared, "ms", "ms");
  });
}

async function text(browser, address) {
  return measure(browser, address, ["text setokim cpu", "text wllama cpu"], async (page, usable) => {
    const compared = await compare(page, usable, { prompt: PROMPT, tokens: 128 });
    for (const [name, [first]] of Object.entries(compared.results)) {
      console.log(`${name}: ${first?.promptTokens} tokens of prompt; ${JSON.stringify(first?.text.slice(0, 80))}`);
    }
    return [
      ...timesOf("SmolLM2-135M Q4_1, prefill 256", compared, "prefill", "tokens/s"),
      ...timesOf("SmolLM2-135M Q4_1, decode 128", compared, "decode", "tokens/s"),
    ];
  });
}

async function answers(browser, address) {
  const name = "answer setokim cpu";
  const works = { first: "picture to first word", edit: "edit of 128 x 128", generate: "generation of 128 x 128" };
  const rows = await measure(browser, address, [name], async (page, usable) => {
    const all = [];
    for (const [work, what] of Object.entries(works)) {
      all.push(...timesOf(what, await compare(page, usable, { work }, 5), "ms", "ms"));
    }
    return all;
  });
  const loads = await measure(browser, address, ["load setokim cpu"], async (page, usable) =>
    timesOf("load setokim-tiny, files at hand", await compare(page, usable, undefined, 5), "ms", "ms"),
  );
  return [...rows, ...loads];
}

/** WebAssembly memory beside the weights in it, each in a page of its own. */
async function memory(browser, address) {
  const rows = [];
  const works = { tiny: "memory, setokim-tiny loaded", text: "memory, SmolLM2-135M Q4_1 loaded" };
  for (const [model, what] of Object.entries(works)) {
    rows.push(
      ...(await measure(browser, address, ["memory setokim cpu"], async (page, usable) => {
        const compared = await compare(page, usable, { model }, 1);
        const [measured] = compared.results[usable[0]] ?? [];
        const row = (program, bytes) => ({ what, program, unit: "MB", runs: 1, ...spread([bytes / 1e6]) });
        const failures = timesOf(what, { results: {}, failed: compared.failed }, "", "");
        if (measured === undefined) return failures;
        return [row("setokim, WebAssembly", measured.held), row("its packed weights", measured.weights)];
      })),
    );
  }
  return rows;
}

const { server, address } = await serve();
const flags = JSON.parse(readFileSync(join(root, "tests/browser/chromium-flags.json"), "utf8"));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: flags,
  ignoreDefaultArgs: ["--disable-features=WebGPU"],
});
const [cpu, gpu] = [
  ["cpu", "wasm"],
  ["gpu", "webgpu"],
];
const rows = [
  ...(await encoder(browser, address, "shipped", cpu, "encoder 192 wide, CPU", 15)),
  ...(await encoder(browser, address, "wide", cpu, "encoder 256 wide, CPU", 15)),
  ...(await encoder(browser, address, "siglip", cpu, "SigLIP base, 224 x 224, CPU")),
  ...(await answers(browser, address)),
  ...(await text(browser, address)),
  ...(await memory(browser, address)),
  ...(await encoder(browser, address, "shipped", gpu, "encoder 192 wide, WebGPU")),
  ...(await encoder(browser, address, "wide", gpu, "encoder 256 wide, WebGPU")),
  ...(await encoder(browser, address, "siglip", gpu, "SigLIP base, 224 x 224, WebGPU", 1)),
];
await browser.close();
server.close();

console.log(`\n${cpus()[0]?.model ?? "unknown processor"}, Chromium ${browser.version()}`);
for (const row of rows) {
  const said = row.failed ?? `${row.median.toFixed(1)} ${row.unit} (${row.min.toFixed(1)}-${row.max.toFixed(1)})`;
  console.log(`${(row.what ?? "").padEnd(36)} ${row.program.padEnd(28)} ${said}`);
}
if (options.out !== undefined) writeFileSync(options.out, JSON.stringify(rows, undefined, 2));
