// The package's worker with a driver that gets one kernel wrong: e is 2 in `reduce_neighbors`.

import "/pkg/dist/worker.js";

const { createShaderModule } = GPUDevice.prototype;
GPUDevice.prototype.createShaderModule = function ({ code, ...rest }) {
  const spoilt = code.replace("exp(-sum / f32(k))", "exp2(-sum / f32(k))");
  return createShaderModule.call(this, { code: spoilt, ...rest });
};
