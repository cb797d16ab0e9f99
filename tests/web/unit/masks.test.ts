import { describe, expect, it } from "vitest";
import {
  maskToRle,
  neighborsOf,
  type Outline,
  type Partition,
  patchAt,
  rleToMask,
  tokenAt,
  tokenMask,
  tokenOutlines,
} from "../../../pkg/src/masks.ts";
import { halves } from "../fake-wasm.ts";

function partition(rows: string[], image = { width: 8, height: 8 }): Partition {
  const labels = Uint32Array.from(rows.join(""), Number);
  const grid: [number, number] = [rows.length, rows[0]?.length ?? 0];
  return { image, grid, labels, crop: { x: 0, y: 0, ...image } };
}

/** Twice the area inside an outline: positive when it is clockwise on a screen. */
function area(outline: Outline): number {
  return outline.reduce((sum, [x, y], index) => {
    const [nextX, nextY] = outline[(index + 1) % outline.length] ?? [0, 0];
    return sum + x * nextY - nextX * y;
  }, 0);
}

describe("tokenMask", () => {
  it("is per patch, per pixel or of a size", () => {
    const tokens = halves(8, 4);
    expect([...tokenMask(tokens, 1).data.subarray(0, 4)]).toEqual([0, 0, 1, 1]);
    const pixels = tokenMask(tokens, 1, "image");
    expect(pixels).toMatchObject({ width: 8, height: 4 });
    expect([...pixels.data.subarray(0, 8)]).toEqual([0, 0, 0, 0, 1, 1, 1, 1]);
    expect([...tokenMask(tokens, 0, { width: 2, height: 1 }).data]).toEqual([1, 0]);
  });

  it("is empty where the crop left the picture out", () => {
    const tokens = { ...halves(8, 4), crop: { x: 2, y: 0, width: 4, height: 4 } };
    expect([...tokenMask(tokens, 0, "image").data.subarray(0, 8)]).toEqual([0, 0, 1, 1, 0, 0, 0, 0]);
    expect([...tokenMask(tokens, 1, "image").data.subarray(0, 8)]).toEqual([0, 0, 0, 0, 1, 1, 0, 0]);
  });
});

describe("tokenAt", () => {
  it("maps points of the picture, also with a crop or padding", () => {
    const tokens = halves(8, 8);
    expect(tokenAt(tokens, 0, 0)).toBe(0);
    expect(tokenAt(tokens, 7.9, 7.9)).toBe(1);
    expect(tokenAt(tokens, 8, 0)).toBeUndefined();
    expect(patchAt(tokens, 5, 3)).toBe(6);
    const padded = { ...tokens, crop: { x: -4, y: 0, width: 16, height: 16 } };
    expect(tokenAt(padded, 3.9, 0)).toBe(0);
    expect(tokenAt(padded, 4.1, 0)).toBe(1);
  });
});

describe("neighborsOf", () => {
  it("counts edges, not corners", () => {
    const tokens = partition(["0011", "0211", "3333"]);
    expect(neighborsOf(tokens, 2)).toEqual([0, 1, 3]);
    expect(neighborsOf(tokens, 0)).toEqual([1, 2, 3]);
    expect(neighborsOf(partition(["01", "10"]), 0)).toEqual([1]);
  });
});

describe("run lengths", () => {
  it("are COCO's: column by column, zeros first", () => {
    //  0 1 1
    //  1 1 0
    const mask = { width: 3, height: 2, data: Uint8Array.of(0, 1, 1, 1, 1, 0) };
    expect(maskToRle(mask)).toEqual({ size: [2, 3], counts: [1, 4, 1] });
    expect(rleToMask({ size: [2, 3], counts: [1, 4, 1] })).toEqual(mask);
    expect(maskToRle({ width: 1, height: 2, data: Uint8Array.of(1, 0) })).toEqual({ size: [2, 1], counts: [0, 1, 1] });
  });

  it("come back as they went", () => {
    for (let seed = 0; seed < 50; seed += 1) {
      const data = Uint8Array.from({ length: 77 }, (_, i) => Number(Math.sin(seed * 99 + i * 7) > 0.2));
      const mask = { width: 11, height: 7, data };
      expect(rleToMask(maskToRle(mask))).toEqual(mask);
    }
  });

  it("must fit the size", () => {
    expect(() => rleToMask({ size: [2, 2], counts: [3] })).toThrow(/3 pixels of 4/);
    expect(() => rleToMask({ size: [1, 2], counts: [3, -1] })).toThrow(/2 pixels of 2/);
  });
});

describe("tokenOutlines", () => {
  it("traces a rectangle by its four corners", () => {
    expect(tokenOutlines(partition(["000", "011", "000"]), 1)).toEqual([
      [
        [1, 1],
        [3, 1],
        [3, 2],
        [1, 2],
      ],
    ]);
  });

  it("goes around holes the other way", () => {
    const outlines = tokenOutlines(partition(["000", "010", "000"]), 0);
    expect(outlines).toHaveLength(2);
    expect(outlines.map(area).sort((a, b) => a - b)).toEqual([-2, 18]);
  });

  it("keeps patches apart that touch by a corner", () => {
    const outlines = tokenOutlines(partition(["01", "10"]), 1);
    expect(outlines).toHaveLength(2);
    expect(outlines.every((outline) => outline.length === 4 && area(outline) === 2)).toBe(true);
  });

  it("encloses each token's area, for any partition", () => {
    for (let seed = 0; seed < 200; seed += 1) {
      const rows = Array.from({ length: 6 }, (_, y) =>
        Array.from({ length: 7 }, (__, x) => Math.floor(Math.abs(Math.sin(seed * 13.7 + x * 3.1 + y * 5.3)) * 3)).join(
          "",
        ),
      );
      const tokens = partition(rows);
      for (const id of [0, 1, 2]) {
        const outlines = tokenOutlines(tokens, id);
        const inside = tokens.labels.filter((label) => label === id).length;
        expect(outlines.reduce((sum, outline) => sum + area(outline), 0)).toBe(2 * inside);
        for (const outline of outlines) {
          for (const [index, [x, y]] of outline.entries()) {
            const [nextX = 0, nextY = 0] = outline[(index + 1) % outline.length] ?? [];
            expect((x === nextX) !== (y === nextY)).toBe(true); // every side is straight and has a length
          }
        }
      }
    }
  });
});
