/** From labels to masks and outlines. Pure functions; they run in a page, a worker or Node. */

import { SetokimError } from "./errors.js";
import type { Color } from "./palette.js";
import type { Tokenization } from "./types.js";

/** What these functions need of a tokenization; the tokens of a generated image have it too. */
export type Partition = Pick<Tokenization, "image" | "grid" | "labels" | "crop">;

export interface Mask {
  width: number;
  height: number;
  /** [height, width], 1 inside and 0 outside. */
  data: Uint8Array;
}

/**
 * A mask as COCO writes it uncompressed: run lengths **column by column**, beginning with zeros (0 when the first pixel is
 * set). `pycocotools.mask.frPyObjects(rle, *rle["size"])` takes it as it is.
 */
export interface Rle {
  size: [height: number, width: number];
  counts: number[];
}

/**
 * Where one token is: a value per patch (`"grid"`), per pixel of the picture (`"image"`), or scaled to a size of your
 * own that shows the whole picture. What the crop left out is 0.
 */
export function tokenMask(
  partition: Partition,
  id: number,
  size: "grid" | "image" | { width: number; height: number } = "grid",
): Mask {
  const [rows, columns] = partition.grid;
  if (size === "grid") {
    return { width: columns, height: rows, data: Uint8Array.from(partition.labels, (label) => Number(label === id)) };
  }
  const { width, height } = size === "image" ? partition.image : size;
  const data = new Uint8Array(width * height);
  forEachPatchPixel(partition, width, height, (pixel, patch) => {
    if (partition.labels[patch] === id) data[pixel] = 1;
  });
  return { width, height, data };
}

/** The token under a point of the picture (its pixels); undefined where the crop left it out. */
export function tokenAt(partition: Partition, x: number, y: number): number | undefined {
  const patch = patchAt(partition, x, y);
  return patch === undefined ? undefined : partition.labels[patch];
}

/** Index of the patch under a point of the picture. */
export function patchAt({ grid, crop }: Partition, x: number, y: number): number | undefined {
  const [rows, columns] = grid;
  const column = Math.floor(((x - crop.x) / crop.width) * columns);
  const row = Math.floor(((y - crop.y) / crop.height) * rows);
  const inside = row >= 0 && row < rows && column >= 0 && column < columns;
  return inside ? row * columns + column : undefined;
}

/** Tokens that share an edge with this one, ascending. */
export function neighborsOf({ grid, labels }: Partition, id: number): number[] {
  const [rows, columns] = grid;
  const found = new Set<number>();
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      if (labels[row * columns + column] !== id) continue;
      for (const [r, c] of [
        [row - 1, column],
        [row + 1, column],
        [row, column - 1],
        [row, column + 1],
      ] as const) {
        if (r < 0 || r >= rows || c < 0 || c >= columns) continue;
        const other = labels[r * columns + c];
        if (other !== undefined && other !== id) found.add(other);
      }
    }
  }
  return [...found].sort((a, b) => a - b);
}

/** The mask as run lengths that COCO's tools read. */
export function maskToRle({ width, height, data }: Mask): Rle {
  const counts: number[] = [];
  let value = 0;
  let run = 0;
  for (let x = 0; x < width; x += 1) {
    for (let y = 0; y < height; y += 1) {
      const bit = Number(data[y * width + x] !== 0);
      if (bit !== value) {
        counts.push(run);
        value = bit;
        run = 0;
      }
      run += 1;
    }
  }
  counts.push(run);
  return { size: [height, width], counts };
}

/** Rejects run lengths that do not fill the size with `setting-invalid`. */
export function rleToMask({ size: [height, width], counts }: Rle): Mask {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total !== width * height || counts.some((count) => count < 0 || !Number.isInteger(count))) {
    throw new SetokimError("setting-invalid", `the run lengths cover ${total} pixels of ${width * height}`);
  }
  const data = new Uint8Array(total);
  let at = 0; // column by column
  for (const [index, count] of counts.entries()) {
    for (const end = at + count; at < end; at += 1) {
      data[(at % height) * width + Math.floor(at / height)] = index % 2;
    }
  }
  return { width, height, data };
}

/** The mask as a picture: `color` inside, transparent outside. */
export function maskToImageData({ width, height, data }: Mask, color: Color, alpha = 1): ImageData {
  const image = new ImageData(width, height);
  for (const [index, value] of data.entries()) {
    if (value !== 0) image.data.set([color.r, color.g, color.b, Math.round(alpha * 255)], index * 4);
  }
  return image;
}

export function maskToImageBitmap(mask: Mask, color: Color, alpha = 1): Promise<ImageBitmap> {
  return createImageBitmap(maskToImageData(mask, color, alpha));
}

/** One closed line: corners [x, y] in patches, clockwise around the region, counter-clockwise around its holes. */
export type Outline = [x: number, y: number][];

/** The outlines of a token's region in grid units ([0, 0] is the upper left corner of the first patch). */
export function tokenOutlines({ grid, labels }: Partition, id: number): Outline[] {
  const [rows, columns] = grid;
  const inside = (row: number, column: number): boolean =>
    row >= 0 && row < rows && column >= 0 && column < columns && labels[row * columns + column] === id;

  // Every border edge as start corner -> the directions that leave it, with the region on the right-hand side.
  const width = columns + 1;
  const leaving = new Map<number, Direction[]>();
  const add = (x: number, y: number, direction: Direction): void => {
    const corner = y * width + x;
    const directions = leaving.get(corner);
    if (directions === undefined) leaving.set(corner, [direction]);
    else directions.push(direction);
  };
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      if (!inside(row, column)) continue;
      if (!inside(row - 1, column)) add(column, row, RIGHT);
      if (!inside(row, column + 1)) add(column + 1, row, DOWN);
      if (!inside(row + 1, column)) add(column + 1, row + 1, LEFT);
      if (!inside(row, column - 1)) add(column, row + 1, UP);
    }
  }

  const outlines: Outline[] = [];
  for (const [start, directions] of leaving) {
    for (let first = directions[0]; first !== undefined; first = directions[0]) {
      const outline: Outline = [];
      let corner = start;
      let direction: Direction | undefined = first;
      let before: Direction | undefined;
      do {
        if (direction !== before) outline.push([corner % width, Math.floor(corner / width)]);
        corner += step(direction, width);
        before = direction;
        direction = takeNext(leaving.get(corner), before);
      } while (direction !== undefined && !(corner === start && direction === first));
      if (before === first) outline.shift(); // the start lies in the middle of a straight edge
      outlines.push(outline);
    }
  }
  return outlines;
}

type Direction = 0 | 1 | 2 | 3;
const RIGHT: Direction = 0;
const DOWN: Direction = 1;
const LEFT: Direction = 2;
const UP: Direction = 3;

function step(direction: Direction, width: number): number {
  return [1, width, -1, -width][direction] ?? 0;
}

/** Where two patches touch by a corner only, turning right keeps them apart. */
function takeNext(directions: Direction[] | undefined, before: Direction): Direction | undefined {
  if (directions === undefined) return undefined;
  const right = directions.indexOf(((before + 1) % 4) as Direction);
  return directions.splice(Math.max(right, 0), 1)[0];
}

/** Calls `visit` for each pixel of a `width` x `height` view of the whole picture that a patch covers. */
export function forEachPatchPixel(
  { image, grid, crop }: Partition,
  width: number,
  height: number,
  visit: (pixel: number, patch: number) => void,
): void {
  const [rows, columns] = grid;
  const columnOf = Int32Array.from({ length: width }, (_, x) =>
    Math.floor(((((x + 0.5) * image.width) / width - crop.x) / crop.width) * columns),
  );
  for (let y = 0; y < height; y += 1) {
    const row = Math.floor(((((y + 0.5) * image.height) / height - crop.y) / crop.height) * rows);
    if (row < 0 || row >= rows) continue;
    for (let x = 0; x < width; x += 1) {
      const column = columnOf[x] ?? -1;
      if (column >= 0 && column < columns) visit(y * width + x, row * columns + column);
    }
  }
}
