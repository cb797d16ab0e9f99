/** A chat, token by token, without a bundler: the server has the package's folder at /setokim/. */

import { Setokim } from "/setokim/dist/index.js";

const [form, file, prompt, stop, answer, status] = ["form", "file", "prompt", "stop", "answer", "status"].map((id) =>
  document.getElementById(id),
);
const setokim = await Setokim.load("/models/setokim-tiny/");
status.textContent = "Ready";

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const image = file.files[0];
  const content = [...(image ? [{ type: "image", image }] : []), { type: "text", text: prompt.value }];
  const answering = setokim.chat([{ role: "user", content }], { maxTokens: 40 });
  stop.onclick = () => answering.abort();
  answer.textContent = "";
  try {
    for await (const part of answering) if (part.type === "text") answer.append(part.text);
    const { usage } = await answering;
    status.textContent = `${usage.answerTokens} tokens`;
  } catch (error) {
    status.textContent = error.code === "aborted" ? "Stopped" : `${error.message}. ${error.remedy}`;
  }
});
