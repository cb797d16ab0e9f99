/** What can be asked about a photograph, around the names of its tokens: questions as in training (`training/photo/questions.py`),
 *  and instructions that need no more than a mask. */

import type { Tokenization } from "setokim";
import { colorNames } from "../colors.ts";
import { confidentName, surestNames } from "../names.ts";
import { cellOf } from "../places.ts";
import type { Mode, Request, TokenRequests } from "./world.ts";

/** Names of what can do something, by which it is asked about. */
const ALIVE = new Set(
  (
    "person man woman boy girl child baby people crowd player dog cat horse cow sheep bird duck elephant bear zebra giraffe " +
    "monkey rabbit fish insect butterfly shark chicken eagle owl frog turtle lizard crocodile snake spider peacock parrot " +
    "hummingbird toucan goose swan kangaroo koala snail crab lobster flamingo pelican penguin whale seal wolf hyena fox lion " +
    "lynx leopard tiger meerkat ladybug bee ant grasshopper dragonfly hamster porcupine squirrel marmot beaver pig hippo " +
    "buffalo goat antelope camel llama weasel otter skunk badger armadillo sloth lemur panda gymnast ballplayer groom diver"
  ).split(" "),
);

const BACKGROUND_EDITS = ["blur the background", "make the background gray", "replace the background with white"];

/** In the mode for questions, of every kind; else of that mode alone. */
export function suggestions(mode: Mode, tokens: Tokenization | undefined, chosen?: number): Request[] {
  const things = unique(surestNames(tokens, true, chosen).map(({ name }) => name));
  const [one, other = one] = things;
  if (mode === "segment") {
    const places = unique(surestNames(tokens, false, chosen).map(({ name }) => name));
    const names = [...things, ...places].slice(0, 5);
    return (names.length === 0 ? ["person", "background"] : names).map((name) => ({ mode, prompt: `the ${name}` }));
  }
  const blur = "Blur the background";
  const edits = one === undefined ? [blur] : [blur, `Cut out the ${one}`, `Remove the ${other}`];
  if (mode === "edit") {
    const more = one === undefined ? [] : [`Brighten the ${one}`];
    return [...edits, ...more, "Make the background gray"].map((prompt) => ({ mode, prompt }));
  }
  const questions = [
    "Describe the photo.",
    one === undefined ? "What animal or thing is in the photo?" : questionAbout(one),
  ];
  return [
    ...questions.map((prompt): Request => ({ mode: "chat", prompt })),
    ...(one === undefined ? [] : [{ mode: "segment" as const, prompt: `Find the ${one}` }]),
    ...edits.map((prompt): Request => ({ mode: "edit", prompt })),
  ];
}

/** What has no name can only be asked about by its place: a phrase for it would be a guess. */
export function requestsFor(tokens: Tokenization, id: number): TokenRequests {
  const found = confidentName(tokens, id);
  const here: Request = { mode: "chat", prompt: `What is ${inWords(cellOf(tokens, id))}?` };
  if (found === undefined) return { requests: [here], recolor: [] };
  const phrase = `the ${found.name}`;
  const find: Request = { mode: "segment", prompt: phrase };
  const edit = (prompt: string): Request => ({ mode: "edit", prompt });
  if (!found.isObject) {
    const requests = [here, find, ...BACKGROUND_EDITS.map(edit), edit(`brighten ${phrase}`)];
    return { requests, recolor: [] };
  }
  const edits = ["cut out", "blur", "remove", "brighten"].map((verb) => edit(`${verb} ${phrase}`));
  const requests: Request[] = [{ mode: "chat", prompt: questionAbout(found.name) }, here, find, ...edits];
  const colors = ALIVE.has(found.name) ? [] : colorNames;
  return { requests, recolor: colors.map((color) => ({ color, request: edit(`make ${phrase} ${color}`) })) };
}

function questionAbout(name: string): string {
  const verb = isPlural(name) ? "are" : "is";
  return ALIVE.has(name) ? `What ${verb} the ${name} doing?` : `What color ${verb} the ${name}?`;
}

/** Of plain nouns: "shoes" and "people", but not "dress" or "bus". */
function isPlural(name: string): boolean {
  return name === "people" || /[^su]s$/.test(name);
}

/** "at the top left", "on the right", "in the middle". */
function inWords(cell: string): string {
  if (cell === "center") return "in the middle";
  return cell === "left" || cell === "right" ? `on the ${cell}` : `at the ${cell}`;
}

function unique(names: string[]): string[] {
  return [...new Set(names)];
}
