import { expect, it } from "vitest";
import { type History, stepped, withImage } from "../../../www/src/history.ts";

const image = (name: string, side = 100) => ({
  name,
  source: new Blob(),
  canvas: { width: side, height: side } as HTMLCanvasElement,
  sample: false,
});
const [a, b, c] = [image("a"), image("b"), image("c")];
const none: History = { images: [], at: -1 };

it("goes back and forth, and no further", () => {
  const both = withImage(withImage(none, a), b);
  const back = stepped(both, -1);
  expect(back).toEqual({ images: [a, b], at: 0 });
  expect(stepped({ images: [a, b], at: 0 }, -1)).toBeUndefined();
  expect(stepped({ images: [a, b], at: 0 }, 1)).toEqual(both);
  expect(stepped(both, 1)).toBeUndefined();
  expect(stepped(none, -1)).toBeUndefined();
});

it("forgets what was undone when another picture comes, and the same one is no change", () => {
  const undone: History = { images: [a, b], at: 0 };
  expect(withImage(undone, c)).toEqual({ images: [a, c], at: 1 });
  expect(withImage(undone, a)).toEqual(undone);
});

it("keeps the last twenty", () => {
  let history = none;
  for (let i = 0; i < 30; i += 1) history = withImage(history, image(String(i)));
  expect(history.images.map(({ name }) => name)).toEqual(Array.from({ length: 20 }, (_, i) => String(i + 10)));
  expect(history.at).toBe(19);
});

it("keeps fewer of large ones, but always the one before", () => {
  let history = none;
  for (let i = 0; i < 5; i += 1) history = withImage(history, image(String(i), 7000)); // 196 MB each
  expect(history).toMatchObject({ images: [{ name: "3" }, { name: "4" }], at: 1 });
  for (let i = 5; i < 8; i += 1) history = withImage(history, image(String(i), 20_000));
  expect(history.images.map(({ name }) => name)).toEqual(["6", "7"]);
});
