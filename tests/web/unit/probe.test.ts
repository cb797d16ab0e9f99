import { expect, it } from "vitest";
import { downloadSize, probeReport } from "../../../pkg/src/probe.ts";
import { report } from "../fake-wasm.ts";

it("fits when it takes half of the machine's memory at the most", () => {
  const gib = 2 ** 30;
  expect(probeReport(report, 24e6, 4 * gib)).toMatchObject({ memory: 80e6, fits: true });
  expect(probeReport(report, 24e6, null).fits).toBe(true);
  expect(probeReport(report, 700e6, 4 * gib).fits).toBe(true);
  expect(probeReport(report, 700e6, 2 * gib).fits).toBe(false);
  expect(probeReport(report, 2e9, 64 * gib).fits).toBe(false); // more than WebAssembly can have
  expect(probeReport(report, null, gib)).toMatchObject({ memory: null, fits: null });
});

it("says so in words", () => {
  expect(probeReport(report, 24e6, null).verdict).toBe(
    "Runs on the CPU: the browser has no WebGPU. It takes about 80 MB of memory.",
  );
  const gpu = { ...report, device: "gpu", reason: "found a card" } as const;
  expect(probeReport(gpu, 2e9, null).verdict).toBe(
    "Runs on the GPU: found a card. It takes about 4032 MB of memory, which may be more than there is.",
  );
});

it("adds up a manifest, and refuses what is none", () => {
  expect(downloadSize('{"files":[{"bytes":3},{"bytes":4}]}')).toBe(7);
  for (const bad of ["", "[]", "{}", '{"files":[]}', '{"files":[{"name":"a"}]}']) {
    expect(() => downloadSize(bad)).toThrow(expect.objectContaining({ code: "manifest-invalid" }) as Error);
  }
});
