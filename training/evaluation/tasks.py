"""Metrics of the whole model on a pack of `training.evaluation.tasks_pack`, from the float weights.

python -m training.evaluation.tasks runs/stage3-nano/checkpoint.pt --text tokenizer.json --pack tasks.safetensors

The same definitions as `setokim eval` (src/bin/setokim/eval_tasks.rs), where the judges are explained, and the same
noise.
"""

import argparse
import json
import math
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import Tensor

from ..data.scenes import MAX_REGIONS
from ..data.text import CELL_BORDERS, CELLS
from ..model.checkpoints import load_setokim
from ..model.mask_head import full_size
from ..model.noise import Noise
from ..model.setokim import Setokim
from .answer import DenoiseOptions, EncodedImage, composite, encode_image, prompt, respond

UNCHANGED_PSNR = 30.0
TEXT, MASK, IMAGE = "text", "mask", "image"


class Judge:
    """Scores of one model, by the name of their mean."""

    def __init__(self, model: Setokim, text: Tokenizer, guidance: float, noise: float):
        self.model, self.text, self.guidance, self.noise = model, text, guidance, noise
        self.labels = model.tokenizer_config.labels
        self.values: dict[str, list[float]] = defaultdict(list)

    def respond(self, words: str, encoded: EncodedImage | None, outputs: set[str]):
        sequence = prompt(self.model, self.text, words, [encoded] if encoded else [])
        denoise = DenoiseOptions(Noise(scale=self.noise), guidance=self.guidance)
        return respond(self.model, self.text, sequence, encoded, outputs, denoise)

    @torch.no_grad()
    def scene(self, task: dict, before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> None:
        encoded = encode_image(self.model, torch.from_numpy(before["images"]).float())
        self.questions(task["questions"], encoded)
        for caption in task.get("captions", []):
            text = caption_things(self.answer_text(caption["question"], encoded), caption["background"])
            self.values[caption["kind"]].append(text == sorted(caption["things"]))
        self.references(task["references"], encoded, before["regions"])
        if "edit" in task:  # packs of pictures from elsewhere only ask
            self.generation(task, before["images"])
            self.editing(task["edit"], encoded, before, after)

    def questions(self, questions: list[dict], encoded: EncodedImage) -> None:
        for question in questions:
            right = self.answer_text(question["question"], encoded) == question["answer"]
            self.values["questions"].append(right)
            self.values[f"question_{question['kind']}"].append(right)

    def answer_text(self, question: str, encoded: EncodedImage) -> str:
        return self.text.decode(self.respond(question, encoded, {TEXT, MASK, IMAGE}).ids).strip()

    def references(self, references: list[dict], encoded: EncodedImage, regions: np.ndarray) -> None:
        for reference in references:
            hidden = self.respond(
                self.model.config.prompts.segment.format(reference["phrase"]), encoded, {TEXT, MASK}
            ).hidden
            found = np.zeros_like(regions, dtype=bool)
            if hidden is not None:
                stride2, stride4 = self.model.vision.stem_stages(encoded.image)
                logits = self.model.mask_head(hidden, encoded.features, stride4, stride2)
                found = (full_size(logits, regions.shape[0])[0] > 0).numpy()
            if reference["region"] is None:
                self.values["segment_refused"].append(not found.any())
            else:
                true = regions == reference["region"]
                self.values["segment_iou"].append((found & true).sum() / max(1, (found | true).sum()))

    def generation(self, task: dict, image: np.ndarray) -> None:
        tokens = self.respond(self.model.config.prompts.generate.format(task["prompt"]), None, {TEXT, IMAGE}).tokens
        drawn = self.render(tokens)[0] if tokens else None  # it said that it cannot
        for suffix, pixels in (("", drawn), ("_real", torch.from_numpy(image))):
            found = [] if pixels is None else self.things(pixels)
            for o in task["objects"]:
                self.values[f"generate_objects{suffix}"].append(any(f[0] == o["name"] for f in found))
                self.values[f"generate_placed{suffix}"].append((o["name"], o["color"], o["cell"]) in found)

    def editing(self, edit: dict, encoded: EncodedImage, before: dict, after: dict) -> None:
        answer = self.respond(self.model.config.prompts.edit.format(edit["instruction"]), encoded, {TEXT, IMAGE})
        judged, unchanged = {"": False, "_exact": False}, {"": -math.inf, "_exact": -math.inf}
        if answer.tokens:
            pixels, labels = self.render(answer.tokens)
            same = self.render(list(encoded.tokens))[0]
            original = torch.from_numpy(before["images"])
            pixels = composite(self.model.config.composite, pixels, labels, answer.copied, encoded, original, same)
            patch = len(pixels) // self.model.tokenizer_config.vision.grid[0]
            for suffix, square, free in (("", patch, edit["open"]), ("_exact", 1, [])):
                judged[suffix] = self.edit_is_right(edit, free, before, after, pixels)
                boxes = [place["box"] for place in free]
                same = untouched(before["images"], after["images"], square, boxes)
                unchanged[suffix] = psnr(pixels.numpy()[same], after["images"][same])
        self.values["edit_judged"].append(judged[""])
        for suffix, value in unchanged.items():
            copied = value >= UNCHANGED_PSNR
            self.values[f"edit{suffix}"].append(judged[suffix] and copied)
            self.values[f"edit{suffix}_{edit['kind']}"].append(judged[suffix] and copied)
            self.values[f"edit_unchanged{suffix}"].append(copied)
        real = self.edit_is_right(edit, edit["open"], before, after, torch.from_numpy(after["images"]))
        self.values["edit_judged_real"].append(real)

    def render(self, tokens: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Pixels [S, S, 3] and the token of each patch."""
        raw = self.model.projector.denormalize(torch.stack(tokens))[None]
        valid = torch.ones(1, len(tokens), dtype=torch.bool)
        pixels = (self.model.detok(raw, valid)[0].clamp(-1, 1) + 1) * 127.5
        return pixels.round().byte().permute(1, 2, 0), self.model.detok.layout(raw, valid)[0].argmax(-1)

    def things(self, pixels: Tensor) -> list[tuple[str, str | None, str]]:
        """Name, colour and cell of every object token of a picture."""
        encoded = encode_image(self.model, pixels.float())
        tokens = self.model.projector.denormalize(encoded.tokens)
        text = [self.name(*logits) for logits in zip(*self.model.heads(tokens))]
        cells = [self.cell(encoded.labels == i) for i in range(len(tokens))]
        return [(n, c, at) for (n, c), at in zip(text, cells) if n in self.labels.names[: self.labels.objects]]

    def name(self, names: Tensor, colors: Tensor) -> tuple[str, str | None]:
        color = self.labels.colors[int(colors.argmax())]
        return self.labels.names[int(names.argmax())], None if color == self.labels.natural else color

    def cell(self, mine: Tensor) -> str:
        grid = self.model.tokenizer_config.vision.grid
        patches = mine.view(grid).nonzero().float().mean(0) + 0.5
        row, column = (int(np.searchsorted(CELL_BORDERS, float(at) / side)) for at, side in zip(patches, grid))
        return CELLS[3 * row + column]

    def region_names(self, pixels: Tensor, regions: np.ndarray) -> dict[int, tuple[str, str | None]]:
        region = torch.from_numpy(regions).long()[None]
        valid = torch.zeros(1, MAX_REGIONS, dtype=torch.bool)
        valid[0, region[0].unique()] = True
        features = encode_image(self.model, pixels.float()).features
        heads = self.model.heads(self.model.setok["merger"](features, region, valid)[0])
        return {r: self.name(*(logits[r] for logits in heads)) for r in region[0].unique().tolist()}

    def edit_is_right(self, edit: dict, free: list[dict], before: dict, after: dict, pixels: Tensor) -> bool:
        """Whether what is new has the right name and colour, and what went is not to be seen any more. A thing in a
        `free` place may stand anywhere in its cell, as in generation; all others must be where they truly are."""
        found = self.things(pixels) if free else []
        placed = all(tuple(place["object"][part] for part in ("name", "color", "cell")) in found for place in free)
        new = {} if free else self.region_names(pixels, after["patch_regions"])
        old = self.region_names(pixels, before["patch_regions"])
        true = {r: self.true_name(after, r) for r in edit["changed"]}
        appeared = all(new.get(r, true[r]) == true[r] for r in edit["changed"])
        stay = set() if edit["open"] else {name for name, _ in true.values()}  # in their old places
        gone = all(g["name"] in stay or old.get(g["region"], (None,))[0] != g["name"] for g in edit["gone"])
        return placed and appeared and gone

    def true_name(self, scene: dict, region: int) -> tuple[str, str | None]:
        color = self.labels.colors[scene["colors"][region]]
        return self.labels.names[scene["names"][region]], None if color == self.labels.natural else color


def caption_things(caption: str, background: str) -> list[str] | None:
    """What a caption says of each thing, sorted: the order of things is no part of it. None on another background."""
    if not caption.endswith(background):
        return None
    return sorted(re.split(", | and ", caption.removesuffix(background).rstrip(", ")))


def untouched(before: np.ndarray, after: np.ndarray, square: int, boxes: list[list[int]]) -> np.ndarray:
    """[S, S]: pixels in squares of `square` x `square` of which the true edit changes none, apart from the `boxes`."""
    touched = (before != after).any(-1)
    side = len(touched) // square
    touched = touched.reshape(side, square, side, square).any((1, 3)).repeat(square, 0).repeat(square, 1)
    for left, top, right, bottom in boxes:
        touched[top:bottom, left:right] = True
    return ~touched


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    if a.size == 0:
        return math.inf
    return 10 * math.log10(255**2 / max(1e-9, np.square(a.astype(float) - b.astype(float)).mean()))


def evaluate_pack(judge: Judge, path: Path, limit: int | None) -> dict[str, float]:
    with safe_open(path, "np") as file:
        tasks = json.loads(file.metadata()["tasks"])[:limit]
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a file is no dict)
    for i, task in enumerate(tasks):
        before = {name: array[i] for name, array in arrays.items() if not name.startswith("edited_")}
        after = {name.removeprefix("edited_"): a[i] for name, a in arrays.items() if name.startswith("edited_")}
        judge.scene(task, before, after)
    return {name: float(np.mean(judge.values[name])) for name in sorted(judge.values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="checkpoint of stage 2 or 3, or a model folder")
    parser.add_argument("--text", type=Path, help="tokenizer.json (a model folder has its own)")
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--noise", type=float, default=0.7, help="scale of the noise that tokens are denoised from")
    parser.add_argument("--out", type=Path, help="also write the metrics as JSON")
    arguments = parser.parse_args()
    model = load_setokim(arguments.model)
    text = Tokenizer.from_file(str(arguments.text or arguments.model / "tokenizer.json"))
    judge = Judge(model, text, arguments.guidance, arguments.noise)
    metrics = evaluate_pack(judge, arguments.pack, arguments.limit)
    if arguments.out:
        arguments.out.write_text(json.dumps(metrics, indent=2) + "\n")
    for name, value in metrics.items():
        print(f"{name:24s} {value:.3f}")


if __name__ == "__main__":
    main()
