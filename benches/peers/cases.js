/**
 * What is timed, in the page: each case sets one program up and gives back a function that does the work once and says
 * how long it took. Every program runs on one thread, as in a page without cross-origin isolation.
 */

/** The encoders: where their files are, and the side of their square in pixels. */
const encoders = {
  shipped: { model: "/model/", onnx: "/encoder.onnx", side: 128 },
  wide: { model: "/wide/", onnx: "/wide.onnx", side: 128 },
  siglip: { model: "/siglip/", onnx: "/siglip.onnx", side: 224 },
};

/** The package's own wasm, started once, and its memory, which never shrinks. */
async function setokimWasm() {
  const wasm = await import("/pkg/wasm/setokim.js");
  const { memory } = await wasm.default();
  return { ...wasm, memory };
}

async function loadSetokim(device, model = encoders.shipped.model) {
  const wasm = await setokimWasm();
  const read = async (name) => (await fetch(model + name)).arrayBuffer();
  const text = async (name) => new TextDecoder().decode(await read(name));
  const loader = await wasm.Loader.create(await text("config.json"), await text("manifest.json"), device);
  for (const { name } of loader.files()) await loader.add(name, new Uint8Array(await read(name)));
  return { wasm, engine: await loader.finish() };
}

/** The sample picture as the programs want it. */
async function sample(side = encoders.shipped.side) {
  const bitmap = await createImageBitmap(await (await fetch("/sample.png")).blob());
  const context = new OffscreenCanvas(side, side).getContext("2d");
  context.drawImage(bitmap, 0, 0, side, side);
  const { data } = context.getImageData(0, 0, side, side);
  return { rgba: new Uint8Array(data.buffer), width: side, height: side };
}

async function timed(work) {
  const start = performance.now();
  const result = await work();
  return { ms: performance.now() - start, result };
}

// --- the vision encoder

async function encoderSetokim(device, { model, side }) {
  const { engine } = await loadSetokim(device, model);
  const picture = await sample(side);
  return async () => {
    const { ms, result } = await timed(() => engine.features(picture));
    return { ms, values: [...result.subarray(0, 8)] };
  };
}

async function encoderOnnx(provider, { onnx, side }) {
  const ort = await import(provider === "webgpu" ? "/ort/ort.all.min.mjs" : "/ort/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = "/ort/";
  const session = await ort.InferenceSession.create(onnx, { executionProviders: [provider] });
  const { rgba } = await sample(side);
  const pixels = Float32Array.from({ length: 3 * side * side }, (_, i) => {
    const [channel, at] = [Math.floor(i / side ** 2), i % side ** 2];
    return rgba[4 * at + channel] / 127.5 - 1;
  });
  const image = new ort.Tensor("float32", pixels, [1, 3, side, side]);
  return async () => {
    const { ms, result } = await timed(async () => (await session.run({ image })).features.getData());
    return { ms, values: [...result.subarray(0, 8)] };
  };
}

// --- SmolLM2-135M-Instruct, Q4_1

async function gguf() {
  return (await fetch("/smollm2.gguf")).arrayBuffer();
}

async function textSetokim(device) {
  const wasm = await setokimWasm();
  const model = await wasm.TextModel.create(new Uint8Array(await gguf()), device);
  return async ({ prompt, tokens }) => {
    const options = { max_tokens: tokens, sampling: { temperature: 0 } };
    const done = await model.complete(prompt, options, () => {}, new wasm.Abort());
    return {
      prefill: done.prompt_tokens / done.prefill_seconds,
      decode: (done.tokens - 1) / done.decode_seconds,
      promptTokens: done.prompt_tokens,
      text: done.text,
    };
  };
}

async function textWllama() {
  const { Wllama } = await import("/wllama/index.js");
  const wllama = new Wllama({ default: "/wllama/wasm/wllama.wasm" }, { suppressNativeLog: true });
  await wllama.loadModel([new Blob([await gguf()])], { n_ctx: 512, n_threads: 1, n_gpu_layers: 0 });
  return async ({ prompt, tokens }) => {
    const done = await wllama.createCompletion({ prompt, max_tokens: tokens, temperature: 0, cache_prompt: false });
    const { prompt_n, prompt_ms, predicted_n, predicted_ms } = done.timings;
    return {
      prefill: (1000 * prompt_n) / prompt_ms,
      decode: (1000 * (predicted_n - 1)) / predicted_ms,
      promptTokens: prompt_n,
      text: done.choices[0].text,
    };
  };
}

// --- whole answers of the shipped model, which no peer can give

async function answerSetokim() {
  const { wasm, engine } = await loadSetokim("cpu");
  const picture = await sample();
  const said = [{ role: "user", parts: [{ type: "image" }, { type: "text", text: "what do you see?" }] }];
  const works = {
    first: async () => {
      // A picture that has been seen is remembered: another one each time.
      picture.rgba[0] = (picture.rgba[0] + 1) % 256;
      const start = performance.now();
      let first;
      await engine.chat(said, [picture], {}, () => (first ??= performance.now() - start), new wasm.Abort());
      return first;
    },
    edit: async () => {
      picture.rgba[0] = (picture.rgba[0] + 1) % 256;
      return (await timed(() => engine.edit(picture, "make it night", { required: true }, () => {}, new wasm.Abort()))).ms;
    },
    generate: async () =>
      (await timed(() => engine.generate("a dog and a red ball on grass", {}, () => {}, new wasm.Abort()))).ms,
  };
  return async ({ work }) => ({ ms: await works[work]() });
}

async function loadOnce() {
  return async () => {
    const { ms } = await timed(() => loadSetokim("cpu"));
    return { ms };
  };
}

/** Bytes of WebAssembly memory once a model is there, and of its weights. The page must be new. */
async function memorySetokim() {
  return async ({ model }) => {
    if (model === "text") {
      const file = new Uint8Array(await gguf());
      const wasm = await setokimWasm();
      await wasm.TextModel.create(file, "cpu");
      return { held: wasm.memory.buffer.byteLength, weights: file.length };
    }
    const { wasm, engine } = await loadSetokim("cpu");
    return { held: wasm.memory.buffer.byteLength, weights: engine.weights().memory_bytes };
  };
}

const encoderCases = Object.entries(encoders).flatMap(([name, files]) => [
  [`${name} setokim cpu`, () => encoderSetokim("cpu", files)],
  [`${name} setokim gpu`, () => encoderSetokim("gpu", files)],
  [`${name} onnxruntime wasm`, () => encoderOnnx("wasm", files)],
  [`${name} onnxruntime webgpu`, () => encoderOnnx("webgpu", files)],
]);

const cases = {
  ...Object.fromEntries(encoderCases),
  "text setokim cpu": () => textSetokim("cpu"),
  "text wllama cpu": () => textWllama(),
  "answer setokim cpu": () => answerSetokim(),
  "load setokim cpu": () => loadOnce(),
  "memory setokim cpu": () => memorySetokim(),
};

const ready = {};

globalThis.prepare = async (name) => {
  ready[name] = await cases[name]();
};
globalThis.once = (name, input) => ready[name](input);
