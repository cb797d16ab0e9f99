// The package's worker, with its levers, on an adapter that has no more than the specification asks of every adapter.

import "./worker.js";

const minimum = {
  maxStorageBuffersPerShaderStage: 8,
  maxStorageBufferBindingSize: 128 << 20,
  maxBufferSize: 256 << 20,
  maxComputeWorkgroupStorageSize: 16 << 10,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupSizeY: 256,
  maxComputeWorkgroupSizeZ: 64,
  maxComputeWorkgroupsPerDimension: 65535,
};
const { get } = Object.getOwnPropertyDescriptor(GPUAdapter.prototype, "limits");
Object.defineProperty(GPUAdapter.prototype, "limits", {
  get() {
    const real = get.call(this);
    const limits = {};
    for (const name in real) limits[name] = real[name];
    return { ...limits, ...minimum };
  },
});
