"""The first scenes of a pack with every task done to them, unpicked: what the shipped weights do, by the Rust program.

python -m training.evaluation.contact_sheet PROGRAM --pack target/scenes/scenes-test.safetensors --out sheet.png
"""

import argparse
import json
import subprocess
import tempfile
import textwrap
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from safetensors import safe_open

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the choice of backend)

COLUMNS = ("scene", "tokens", "reconstruction", "find", "draw from words", "edit", "question")
WIDTH = 26  # of a caption, in letters


class Program:
    """The command line on one image; files come and go in `folder`."""

    def __init__(self, binary: str, model: str, folder: Path):
        self.binary, self.model, self.folder = binary, model, folder

    def run(self, task: str, *arguments: str) -> str:
        command = [self.binary, task, *arguments, "--model", self.model, "--device", "cpu"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def image(self, task: str, *arguments: str, option: str = "-o") -> np.ndarray | None:
        """The image that a task writes, or nothing where it answers in words."""
        path = self.folder / "image.png"
        path.unlink(missing_ok=True)
        self.run(task, *arguments, option, str(path))
        return np.asarray(Image.open(path).convert("RGB")) if path.exists() else None


def cells(program: Program, image: np.ndarray, task: dict) -> list[tuple[np.ndarray | None, str]]:
    """An image and a caption for each column."""
    path = str(program.folder / "scene.png")
    Image.fromarray(image).save(path)
    phrase = task["references"][0]["phrase"] if task["references"] else "the biggest object"
    question = task["questions"][0]
    answer = program.run("chat", "--image", path, question["question"])
    mask = str(program.folder / "mask.png")
    return [
        (image, ""),
        (program.image("tokenize", path, option="--overlay"), ""),
        (program.image("reconstruct", path), ""),
        (program.image("segment", path, phrase, "-o", mask, option="--overlay"), phrase),
        (program.image("generate", task["prompt"]), task["prompt"]),
        (program.image("edit", path, task["edit"]["instruction"]), task["edit"]["instruction"]),
        (None, f"{question['question']}\n- {answer}\n(true: {question['answer']})"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the binary `setokim`")
    parser.add_argument("--model", default="models/setokim-tiny")
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with safe_open(arguments.pack, "np") as file:
        tasks = json.loads(file.metadata()["tasks"])[: arguments.count]
        images = file.get_tensor("images")[: arguments.count]
    figure, axes = plt.subplots(len(tasks), len(COLUMNS), figsize=(1.5 * len(COLUMNS), 1.85 * len(tasks)))
    with tempfile.TemporaryDirectory() as folder:
        program = Program(arguments.program, arguments.model, Path(folder))
        for row, image, task in zip(axes, images, tasks):
            for axis, (shown, words) in zip(row, cells(program, image, task)):
                axis.axis("off")
                axis.imshow(np.full_like(image, 255) if shown is None else shown)
                lines = "\n".join(line for part in words.split("\n") for line in textwrap.wrap(part, WIDTH))
                if shown is None:
                    axis.text(0, 0.5, lines or "(no picture)", fontsize=6, va="center", transform=axis.transAxes)
                else:
                    axis.text(0.5, -0.03, lines, fontsize=5, ha="center", va="top", transform=axis.transAxes)
    for axis, name in zip(axes[0], COLUMNS):
        axis.text(0.5, 1.08, name, fontsize=8, ha="center", transform=axis.transAxes)
    figure.tight_layout()
    figure.savefig(arguments.out, dpi=100)


if __name__ == "__main__":
    main()
