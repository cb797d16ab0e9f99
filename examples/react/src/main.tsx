/** A picture from words, with `useSetokim`. */

import { StrictMode, useRef, useState, type FormEvent } from "react";
import { createRoot } from "react-dom/client";
import type { Setokim } from "setokim";
import { useSetokim } from "./useSetokim.ts";

function App() {
  const loading = useSetokim("/models/setokim-tiny/");
  if (loading.state === "failed") return <p role="alert">{`${loading.error.message}. ${loading.error.remedy}`}</p>;
  if (loading.state === "loading") return <progress aria-label="Loading" value={loading.progress?.fraction ?? 0} />;
  return <Draw setokim={loading.setokim} />;
}

function Draw({ setokim }: { setokim: Setokim }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [words, setWords] = useState("a cat and a red ball on grass");
  const [said, setSaid] = useState("Ready");
  const draw = async (event: FormEvent) => {
    event.preventDefault();
    const drawing = setokim.generate(words, { insist: true });
    for await (const part of drawing) if (part.type === "visual-token") setSaid(`Token ${part.index + 1}`);
    const { image, text } = await drawing;
    if (image === null) return setSaid(text);
    canvas.current!.width = image.image.width;
    canvas.current!.height = image.image.height;
    canvas.current!.getContext("2d")!.putImageData(image.image, 0, 0);
    setSaid(`Drawn with ${image.tokens.length} tokens`);
  };
  return (
    <form onSubmit={(event) => void draw(event)}>
      <h1>Draw</h1>
      <label>
        Words <input value={words} onChange={({ target }) => setWords(target.value)} />
      </label>
      <button>Draw</button>
      <p role="status">{said}</p>
      <canvas ref={canvas} />
    </form>
  );
}

createRoot(document.querySelector("#root")!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
