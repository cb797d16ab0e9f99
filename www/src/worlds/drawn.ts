import { requestsFor, suggestions } from "./drawn-requests.ts";
import type { World } from "./world.ts";

export const drawn: World = {
  kind: "drawn",
  tasks: ["tokenize", "reconstruct", "chat", "segment", "generate", "edit"],
  welcome: {
    title: "A tiny model of a drawn world",
    can: [
      "Knows a few dozen emoji-like things.",
      "Talks of them, finds, draws, edits.",
      "Cannot make sense of photographs.",
      "Reads short English, often wrong.",
    ],
  },
  modes: {
    chat: { about: "about the picture, in plain words", placeholder: "Ask about this picture" },
    segment: { about: "a thing, and see exactly where it is", placeholder: "What should be found?" },
    generate: { about: "a new picture from a sentence", placeholder: "Describe a new picture" },
    edit: { about: "one thing, and keep the rest", placeholder: "How should this picture change?" },
  },
  about:
    "This is a tiny model of a drawn world: a few dozen emoji-like things on plain backgrounds, in short English. It knows nothing else, and it makes mistakes. All of it happens in this page; nothing is kept.",
  open: "Open a picture",
  maker: "scene",
  believable: 0.35,
  hint: "Or drop or paste one anywhere. This small model has only seen emoji-like scenes such as these: photographs are beyond what it knows.",
  unfamiliar: "This picture looks unlike the scenes that this small model was trained on; expect mistakes.",
  samples: ["Beach", "Desert", "Grass", "Night", "Room", "Snow", "Teal", "White"].map((name) => ({
    file: `${name.toLowerCase()}.png`,
    name,
  })),
  suggestions,
  requestsFor,
};
