/** An image from a prompt, with `useSetokim`. */

import { type FormEvent, StrictMode, useRef, useState } from "react";
import { createRoot } from "react-dom/client";
import type { Setokim } from "setokim";
import { useSetokim } from "./useSetokim.ts";

function App() {
  const loading = useSetokim("/models/setokim-tiny/");
  if (loading.state === "failed") return <p role="alert">{`${loading.error.message}. ${loading.error.remedy}`}</p>;
  if (loading.state === "loading") return <progress aria-label="Loading" value={loading.progress?.fraction ?? 0} />;
  return <Generate setokim={loading.setokim} />;
}

function Generate({ setokim }: { setokim: Setokim }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [prompt, setPrompt] = useState("a cat and a red ball on grass");
  const [status, setStatus] = useState("Ready");
  const generate = async (event: FormEvent) => {
    event.preventDefault();
    const answering = setokim.generate(prompt, { required: true });
    for await (const part of answering) if (part.type === "visual-token") setStatus(`Token ${part.index + 1}`);
    const { image, tokens, text } = await answering;
    if (image === null) return setStatus(text);
    canvas.current!.width = image.width;
    canvas.current!.height = image.height;
    canvas.current!.getContext("2d")!.putImageData(image, 0, 0);
    setStatus(`Drawn with ${tokens.tokens.length} tokens`);
  };
  return (
    <form onSubmit={(event) => void generate(event)}>
      <h1>Draw</h1>
      <label>
        Prompt <input value={prompt} onChange={({ target }) => setPrompt(target.value)} />
      </label>
      <button type="submit">Draw</button>
      <p role="status">{status}</p>
      <canvas ref={canvas} />
    </form>
  );
}

createRoot(document.querySelector("#root")!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
