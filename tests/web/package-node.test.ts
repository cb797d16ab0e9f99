/** The built package in Node, on the CPU: a folder of the disk, a picture, every task. Part of `npm run check:package`. */

import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const root = new URL("../../", import.meta.url);

/** Runs a script beside the package; what it writes. */
function run(script: string): string {
  const preamble = `
    import { readFileSync } from "node:fs";
    import { Setokim } from "./pkg/dist/index.js";
    const model = new URL("tests/fixtures/tiny-setokim/", ${JSON.stringify(root.href)});
    const picture = readFileSync(new URL("models/samples/beach.png", ${JSON.stringify(root.href)}));
    const told = (error) => console.log(error.name, error.code, error.message, error.remedy);`;
  return execFileSync(process.execPath, ["--input-type=module", "-e", preamble + script], {
    cwd: fileURLToPath(root),
    encoding: "utf8",
  });
}

it("answers on the CPU, whatever device is asked for but a GPU, and the process ends", () => {
  const written = run(`
    for (const device of ["cpu", "auto"]) {
      const setokim = await Setokim.load(model, { worker: false, device });
      const { tokens } = await setokim.tokenize(picture);
      const { image } = await setokim.generate("a cat", { required: true, maxTokens: 40, diffusion: { steps: 1 } });
      const { text } = await setokim.chat([{ role: "user", content: [{ type: "image", image }, { type: "text", text: "?" }] }], { maxTokens: 4 });
      console.log(setokim.device.device, setokim.device.reason, tokens.length > 0, image.data.length, typeof text);
      await setokim.dispose();
    }
    await Setokim.load(model, { worker: false, device: "gpu" }).catch(told);
    console.log((await Setokim.probe({ worker: false, model })).verdict);
  `);
  expect(written.split("\n")).toEqual([
    "cpu asked for true 4096 string",
    "cpu there is no WebGPU here true 4096 string",
    expect.stringMatching(/^SetokimError device-unavailable .*there is no WebGPU here/),
    expect.stringMatching(/^Runs on the CPU: there is no WebGPU here\. /),
    "",
  ]);
}, 120_000);

it("says what is missing there, and what helps", () => {
  const written = run(`
    await Setokim.load(model).catch(told);
    await Setokim.load("models/tiny/", { worker: false }).catch(told);
    await Setokim.load(new URL("none/", model), { worker: false }).catch(told);
  `);
  expect(written.split("\n")).toEqual([
    expect.stringMatching(/^SetokimError worker-unavailable .* Load with `worker: false`\.$/),
    expect.stringMatching(/^SetokimError setting-invalid this is not an address: models\/tiny\/ Pass a whole address/),
    expect.stringMatching(/^SetokimError network file:.*none\/config\.json cannot be fetched: the server answers 404 /),
    "",
  ]);
}, 60_000);
