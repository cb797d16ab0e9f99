// Nothing special: webpack 5 finds the worker and the wasm by itself.
export default { entry: "./src/index.js" };
