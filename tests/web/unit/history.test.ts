import { expect, it } from "vitest";
import { stepped, withPicture, type History } from "../../../www/src/history.ts";

const picture = (name: string) => ({ name, source: new Blob(), canvas: {} as HTMLCanvasElement, sample: false });
const [a, b, c] = [picture("a"), picture("b"), picture("c")];
const none: History = { pictures: [], at: -1 };

it("goes back and forth, and no further", () => {
  const both = withPicture(withPicture(none, a), b);
  const back = stepped(both, -1);
  expect(back).toEqual({ pictures: [a, b], at: 0 });
  expect(stepped({ pictures: [a, b], at: 0 }, -1)).toBeUndefined();
  expect(stepped({ pictures: [a, b], at: 0 }, 1)).toEqual(both);
  expect(stepped(both, 1)).toBeUndefined();
  expect(stepped(none, -1)).toBeUndefined();
});

it("forgets what was undone when another picture comes, and the same one is no change", () => {
  const undone: History = { pictures: [a, b], at: 0 };
  expect(withPicture(undone, c)).toEqual({ pictures: [a, c], at: 1 });
  expect(withPicture(undone, a)).toEqual(undone);
});

it("keeps the last twenty", () => {
  let history = none;
  for (let i = 0; i < 30; i += 1) history = withPicture(history, picture(String(i)));
  expect(history.pictures.map(({ name }) => name)).toEqual(Array.from({ length: 20 }, (_, i) => String(i + 10)));
  expect(history.at).toBe(19);
});
