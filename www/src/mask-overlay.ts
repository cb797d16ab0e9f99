import { type Color, type Partition, paletteColor, type SegmentationMask } from "setokim";

/** Finer outlines than this cannot be seen, and take long to trace. */
const FINEST = 512;

/** The id of the region's only token. */
export const INSIDE = 1;

/** The colour of a mask, over the picture and in the conversation. */
export function maskColor(turn: number, index: number): Color {
  return paletteColor(turn + index);
}

/** A mask as a partition of the picture with one token, which the package's overlay can draw. */
export function partitionFromMask({ width, height, data }: SegmentationMask): Partition & { tokens: { id: number }[] } {
  const scale = Math.min(1, FINEST / Math.max(width, height));
  const [rows, columns] = [Math.max(1, Math.round(height * scale)), Math.max(1, Math.round(width * scale))];
  return {
    image: { width, height },
    grid: [rows, columns],
    labels: Uint32Array.from({ length: rows * columns }, (_, cell) => {
      const y = Math.floor(((Math.floor(cell / columns) + 0.5) * height) / rows);
      const x = Math.floor((((cell % columns) + 0.5) * width) / columns);
      return data[y * width + x] === 1 ? INSIDE : 0;
    }),
    crop: { x: 0, y: 0, width, height },
    tokens: [{ id: INSIDE }],
  };
}

/** Share of the picture that a mask covers, 0 to 1. */
export function areaOf({ data }: SegmentationMask): number {
  return data.reduce((sum, inside) => sum + inside, 0) / Math.max(1, data.length);
}
