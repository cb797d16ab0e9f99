/** Where in a picture something is, in words. */

import type { Tokenization } from "setokim";

const columnNames = ["left", "", "right"];
const rowNames = ["top", "", "bottom"];

/** One of nine parts of the picture by the middle of the token's box, with the borders of `training/data/text.py`. */
export function cellOf({ labels, grid, crop, image }: Tokenization, id: number): string {
  const [rows, columns] = grid;
  const cells = [...labels.keys()].filter((patch) => labels[patch] === id);
  const middle = (values: number[]): number => (Math.min(...values) + Math.max(...values) + 1) / 2;
  const x = (crop.x + (middle(cells.map((patch) => patch % columns)) / columns) * crop.width) / image.width;
  const y = (crop.y + (middle(cells.map((patch) => Math.floor(patch / columns))) / rows) * crop.height) / image.height;
  return placeName(x, y);
}

/** "top left", "center" and so on for a point in parts of the picture's width and height. */
export function placeName(x: number, y: number): string {
  const third = (part: number): number => (part <= 0.37 ? 0 : part <= 0.63 ? 1 : 2);
  return `${rowNames[third(y)]} ${columnNames[third(x)]}`.trim() || "center";
}
