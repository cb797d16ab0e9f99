// The package's worker, with levers for what no test can do from outside. Pulled over a BroadcastChannel.

import "/pkg/dist/worker.js";

const devices = [];
if ("GPUAdapter" in globalThis) {
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (...options) {
    const device = await requestDevice.apply(this, options);
    devices.push(device);
    return device;
  };
}

// (module (func (export "f") unreachable))
// biome-ignore format: bytes
const trap = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 5, 1, 3, 0, 0, 11);

new BroadcastChannel("faults").addEventListener("message", ({ data }) => {
  if (data === "lose the device") for (const device of devices) device.destroy();
  if (data === "take the GPU's memory") {
    // As a browser tells it that had none for a buffer: nobody's error scope caught it.
    const error = new GPUOutOfMemoryError("no memory for a buffer");
    for (const device of devices) device.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", { error }));
  }
  if (data === "trap") new WebAssembly.Instance(new WebAssembly.Module(trap)).exports.f();
  if (data === "end") close();
});
