/**
 * Takes the place of the package's worker in tests of the page: it speaks the same protocol (`pkg/src/protocol.ts`) and
 * answers at once with things that are easy to check. No WebAssembly, no weights.
 */

const side = 128;
const grid = 16;
const answers = {
  "what do you see?": "an owl, a red balloon and a cat on a beach",
  "how many things are there?": "three",
};
const device = { device: "cpu", reason: "this is a test", adapter: null };
/** Of the drawn world, and of a photograph. */
const drawnNames = [
  { name: "sky", confidence: 0.99, color: null, isObject: false },
  { name: "owl", confidence: 0.97, color: null, isObject: true },
  { name: "balloon", confidence: 0.95, color: "red", isObject: true },
  { name: "sand", confidence: 0.99, color: null, isObject: false },
  { name: "cat", confidence: 0.9, color: null, isObject: true },
];
const photoNames = [
  { name: "sky", confidence: 0.97, color: null, isObject: false },
  { name: "dog", confidence: 0.87, color: null, isObject: true },
  { name: "frisbee", confidence: 0.64, color: null, isObject: true },
  { name: "grass", confidence: 0.93, color: null, isObject: false },
  { name: "something", confidence: 0.2, color: null, isObject: true },
];
let names = drawnNames;
/** [token, first row, last row, first column, last column] */
const boxes = [
  [1, 4, 6, 6, 7],
  [2, 4, 6, 9, 11],
  [4, 10, 13, 6, 9],
];
/** Bytes of the weights in memory, by type. */
const memoryBytes = { stored: 1.06e6, f32: 4e6, q8_0: 1.06e6, q4_0: 0.56e6 };
const aborted = new Set();
/** Nothing is ever fetched here. */
const state = { requests: 0, memory: 65_536 };

const labels = () =>
  Uint32Array.from({ length: grid * grid }, (_, patch) => {
    const [row, column] = [Math.floor(patch / grid), patch % grid];
    const box = boxes.find(
      ([, top, bottom, left, right]) => row >= top && row <= bottom && column >= left && column <= right,
    );
    return box?.[0] ?? (row < 7 ? 0 : 3);
  });

const crop = (width, height) => ({ x: 0, y: 0, width, height });

async function bitmapOf({ bitmap, bytes }) {
  return bitmap ?? createImageBitmap(new Blob([bytes]));
}

async function sizeOf(image) {
  if (image.kind === "rgba") return image;
  const { width, height } = await bitmapOf(image);
  return { width, height };
}

function tokenization({ width, height }) {
  const found = labels();
  return {
    image: { width, height },
    grid: [grid, grid],
    labels: found,
    crop: crop(width, height),
    tokens: names.map((_, id) => ({
      id,
      center: [Math.floor(found.indexOf(id) / grid), found.indexOf(id) % grid],
      patches: found.filter((label) => label === id).length,
      score: 1 - id / 10,
    })),
    names,
    unfamiliar: false,
    device: "cpu",
    timingsMs: { preprocess: 1, encode: 20, cluster: 5, merge: 3 },
  };
}

/** A sun on a meadow; where the sun stands is the seed's. */
function scene(seed) {
  const rgba = new Uint8Array(side * side * 4);
  const [sunX, sunY] = [30 + ((seed * 23) % 70), 34];
  for (let y = 0; y < side; y += 1) {
    for (let x = 0; x < side; x += 1) {
      const sun = Math.hypot(x - sunX, y - sunY) < 18;
      const color = sun ? [255, 205, 60] : y < 62 ? [130 + y, 200, 245] : [110 - y / 4, 200 - y / 2, 80];
      rgba.set([...color, 255], (y * side + x) * 4);
    }
  }
  const labels = Uint32Array.from({ length: grid * grid }, (_, patch) => {
    const [row, column] = [Math.floor(patch / grid), patch % grid];
    return Math.hypot(column * 8 + 4 - sunX, row * 8 + 4 - sunY) < 18 ? 2 : row < 8 ? 0 : 1;
  });
  return { rgba, labels };
}

function generated(seed, edited) {
  return {
    width: side,
    height: side,
    ...scene(seed),
    grid: [grid, grid],
    crop: crop(side, side),
    tokens: [0, 1, 2].map((id) => ({ copied: edited && id < 2 ? [0, 3][id] : null, patches: 80 })),
    removed: edited ? [1] : [],
  };
}

/** As a photo model edits: the middle is white, or all but the middle is cut away; everything else is as it was. */
async function editedPhoto(image, prompt) {
  const bitmap = await bitmapOf(image);
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const middle = [width / 4, height / 4, width / 2, height / 2].map(Math.floor);
  const inside = context.getImageData(...middle);
  if (/^cut out/i.test(prompt)) {
    context.clearRect(0, 0, width, height);
    context.putImageData(inside, middle[0], middle[1]);
  } else {
    context.fillStyle = "white";
    context.fillRect(...middle);
  }
  const { data } = context.getImageData(0, 0, width, height);
  const noTokens = { grid: [0, 0], labels: new Uint32Array(), tokens: [], removed: [] };
  return { width, height, rgba: new Uint8Array(data.buffer), crop: crop(width, height), ...noTokens };
}

function maskOf(phrase, { width, height }) {
  const id = names.findIndex(({ name }) => phrase.includes(name));
  if (id < 0) return null;
  const found = labels();
  const bits = Uint8Array.from({ length: width * height }, (_, pixel) => {
    const [y, x] = [Math.floor(pixel / width), pixel % width];
    return Number(found[Math.floor((y / height) * grid) * grid + Math.floor((x / width) * grid)] === id);
  });
  return { width, height, bits, score: 0.93, tokens: [{ id, covered: 1 }] };
}

/** One after the other, with pauses in which an abort can arrive. */
async function tell(id, events, pause) {
  for (const event of events) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    if (aborted.has(id))
      throw { code: "aborted", message: "stopped on request", remedy: "Ask again to get an answer." };
    postMessage({ type: "event", id, event: structuredClone(event) });
  }
}

async function answer(id, { task, messages, prompt: asked, image, options }) {
  const prompt = asked ?? messages.at(-1).parts.find((part) => part.type === "text").text;
  if (prompt === "fail") throw { code: "context-overflow", message: "the request is too long", remedy: "Shorten it." };
  const seed = options.diffusion?.seed ?? 0;
  const parts = [];
  const events = [];
  if (task === "chat") {
    const text = prompt.startsWith("count")
      ? "one two three ".repeat(100)
      : (answers[prompt] ?? `you said: ${prompt}, turn ${messages.length}`);
    events.push(...text.split(/(?<= )/).map((word) => ({ type: "text", text: word })));
    parts.push({ type: "text", text });
  }
  if (task === "segment") {
    const mask = maskOf(prompt, await sizeOf(image));
    parts.push(
      mask === null ? { type: "text", text: `there is no ${prompt.replace("the ", "")}` } : { type: "mask", mask },
    );
    events.push(...parts);
  }
  if (task === "generate" || task === "edit") {
    const made = names === photoNames ? await editedPhoto(image, prompt) : generated(seed, task === "edit");
    events.push(...made.tokens.map(({ copied }, index) => ({ type: "visual-token", index, copied })), {
      type: "image",
      image: made,
    });
    parts.push({ type: "image", image: made });
  }
  const usage = {
    promptTokens: 12,
    cachedTokens: 0,
    answerTokens: events.length,
    visualTokens: events.filter(({ type }) => type === "visual-token").length,
    finish: "end",
    seconds: { prefill: 0, decode: 0, denoise: 0, mask: 0, render: 0 },
  };
  await tell(id, [...events, { type: "done", usage }], prompt === "slowly" ? 800 : 25);
  return { parts, usage };
}

async function reply({ type, id, body }) {
  switch (type) {
    case "probe":
      return device;
    case "load": {
      const isPhoto = body.source.includes("/photo/");
      names = isPhoto ? photoNames : drawnNames;
      const model = { name: "fake", bytes: 1e6, config: {} };
      await new Promise((resolve) => setTimeout(resolve, 300)); // as long as the samples take
      const tasks = ["tokenize", "reconstruct", "chat", "segment", "generate", "edit"];
      postMessage({ type: "progress", id, progress: { stage: "ready", loaded: 1e6, total: 1e6, fraction: 1 } });
      if (body.source.includes("/large-as-f32/") && body.dtype === "f32")
        throw { code: "out-of-memory", message: "too large" };
      const weights = { stored: ["q8_0", "f32"], memory: body.dtype, memoryBytes: memoryBytes[body.dtype] };
      if (isPhoto) return { device, model, weights, tasks: ["tokenize", "chat", "describe", "segment", "edit"] };
      return { device, model, weights, tasks: body.source.includes("/tokens-only/") ? tasks.slice(0, 2) : tasks };
    }
    case "tokenize":
      return tokenization(await sizeOf(body.image));
    case "reconstruct":
      return { width: side, height: side, rgba: scene(0).rgba, tokens: tokenization(await sizeOf(body.image)) };
    case "answer":
      return answer(id, body);
    default:
      return null;
  }
}

addEventListener("message", ({ data }) => {
  if (data.type === "abort") {
    aborted.add(data.id);
    return;
  }
  reply(data).then(
    (value) => postMessage({ type: "result", id: data.id, value, ...state }),
    (error) => postMessage({ type: "error", id: data.id, error: { code: "internal", remedy: "", ...error }, ...state }),
  );
});
postMessage({ type: "hello" });
