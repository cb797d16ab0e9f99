// The package's worker on an adapter without `timestamp-query`.

import "/pkg/dist/worker.js";

const { get } = Object.getOwnPropertyDescriptor(GPUAdapter.prototype, "features");
Object.defineProperty(GPUAdapter.prototype, "features", {
  get() {
    return new Set([...get.call(this)].filter((name) => name !== "timestamp-query"));
  },
});
