// The package's worker in a browser without WebGPU.

import "/pkg/dist/worker.js";

Object.defineProperty(WorkerNavigator.prototype, "gpu", { value: undefined });
