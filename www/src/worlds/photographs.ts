import { requestsFor, suggestions } from "./photograph-requests.ts";
import type { World } from "./world.ts";

export const photographs: World = {
  kind: "photographs",
  tasks: ["tokenize", "chat", "describe", "segment", "edit"],
  welcome: {
    title: "A small model for photographs",
    can: [
      "Names the things in a photo.",
      "Answers, finds, cuts out, removes.",
      "Cannot draw, read or name people.",
      "Is small, and often wrong.",
    ],
  },
  modes: {
    chat: { about: "about the photo, in plain words", placeholder: "Ask about this photo" },
    segment: { about: "a thing, and see exactly where it is", placeholder: "What should be found?" },
    edit: { about: "a thing or the background, and keep the rest", placeholder: "How should this photo change?" },
  },
  about:
    "This is a small model that has learned from photographs of everyday things. It knows little of the world, and it makes mistakes: look before you believe it. All of it happens in this page; nothing is kept.",
  open: "Open a photo",
  maker: "camera",
  believable: 0, // a model of photographs says "something" where it is not sure
  hint: "Or drop or paste one: photographs of everyday things suit this model best.",
  unfamiliar: "This picture looks unlike the photographs that this small model was trained on; expect mistakes.",
  samples: [
    { file: "photos/cat.webp", name: "Cat", credit: "Stéfan van der Walt, CC0" },
    { file: "photos/coffee.webp", name: "Coffee", credit: "Rachel Michetti, CC0" },
    { file: "photos/astronaut.webp", name: "Astronaut", credit: "NASA, public domain" },
    { file: "photos/flower.webp", name: "Flower", credit: "vultilion on Flickr, CC BY 2.0" },
    { file: "photos/temple.webp", name: "Temple", credit: "danielbuechele on Flickr, CC BY 2.0" },
    { file: "photos/rocket.webp", name: "Rocket", credit: "SpaceX, public domain" },
  ],
  suggestions,
  requestsFor,
};
