/** The page's own worker does other work too, so the model runs in it and not in a worker of the package. */

import { Setokim } from "setokim";

const loading = Setokim.load("/models/setokim-tiny/", { worker: false });

addEventListener("message", async ({ data: image }: MessageEvent<File>) => {
  try {
    const setokim = await loading;
    const { tokens, names } = await setokim.tokenize(image);
    const known = names?.filter(({ confidence }) => confidence > 0.5).map(({ name }) => name) ?? [];
    postMessage(`${tokens.length} tokens${known.length === 0 ? "" : `: ${known.join(", ")}`}`);
  } catch (error) {
    postMessage(error instanceof Error ? error.message : String(error));
  }
});
