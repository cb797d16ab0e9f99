"""easy-VQA: pictures of one shape on a light ground, questions with thirteen answers (PyPI `easy-vqa`, MIT).

Its official train split is a small part of the training of stages 1 to 3; its test split is only ever measured.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from easy_vqa.easy_vqa import BASE_PATH
from PIL import Image

from .scenes import COLOR_LABELS, CONCEPTS, IMAGE_SIZE, MAX_REGIONS, PATCH_SIZE, SceneBatch, patch_regions

SHAPES = {"circle": "circle", "rectangle": "square", "triangle": "triangle"}  # their names -> ours
VAL_IMAGES = 200
GROUND = "white"  # what the light ground is nearest to
DATA = Path(BASE_PATH) / "data"


def kind(question: str) -> str:
    """`color`, `shape` or `exists`."""
    if not question.startswith("what"):
        return "exists"
    return "color" if "color" in question else "shape"


@cache
def questions(split: str) -> list[list[tuple[str, str]]]:
    """(question, answer) pairs of each picture of `train` or `test`."""
    pairs = json.loads((DATA / split / "questions.json").read_text())
    of_image: list[list[tuple[str, str]]] = [[] for _ in range(1 + max(index for *_, index in pairs))]
    for question, answer, index in pairs:
        of_image[index].append((question, answer))
    return of_image


def sample(rng: np.random.Generator, split: str) -> int:
    """A picture of the official train split: of its last for our `val`, of the others for our `train`."""
    images = len(questions("train"))
    border = images - VAL_IMAGES
    return int(rng.integers(border, images) if split == "val" else rng.integers(border))


@cache
def load_image(split: str, index: int) -> np.ndarray:
    """[S, S, 3] uint8, enlarged from 64 pixels."""
    load_image = Image.open(DATA / split / "images" / f"{index}.png").convert("RGB")
    return np.asarray(load_image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR))


@cache
def regions(split: str, index: int) -> np.ndarray:
    """[S, S] uint8, as `shape_regions`."""
    return shape_regions(load_image(split, index))


def shape_regions(load_image: np.ndarray) -> np.ndarray:
    """Region of each pixel [S, S]: 0 the shape, 1 the ground, whose colour is the most frequent at the border."""
    border = np.concatenate([load_image[0], load_image[-1], load_image[:, 0], load_image[:, -1]])
    colors, counts = np.unique(border, axis=0, return_counts=True)
    distance = np.abs(load_image.astype(np.float32) - colors[counts.argmax()]).sum(-1)
    return (distance < distance.max() / 2).astype(np.uint8)


def shape_label(split: str, index: int) -> tuple[str, str]:
    """Shape and colour, as the questions about this picture give them away; empty where none asks."""
    words: set[str] = set()
    for question, answer in questions(split)[index]:
        asked = set(question.rstrip("?").split())
        if answer not in ("yes", "no"):
            words.add(answer)
        elif answer == "yes" and not asked & {"no", "not"}:
            words |= asked
    shape = next((s for s in SHAPES if s in words), "")
    return shape, next((c for c in COLOR_LABELS if c in words), "")


def easy_batch(split: str, indices: Sequence[int]) -> SceneBatch:
    """Pictures as if they were scenes, for the losses of stage 1."""
    count, side = len(indices), IMAGE_SIZE // PATCH_SIZE
    names, colors = region_labels(split, indices)
    batch = SceneBatch(
        [],
        images=np.stack([load_image(split, index) for index in indices]),
        regions=np.empty((count, IMAGE_SIZE, IMAGE_SIZE), np.uint8),
        patch_regions=np.empty((count, side * side), np.int64),
        purity=np.empty((count, side * side), np.float32),
        names=names,
        colors=colors,
        object_counts=np.ones(count, np.int64),
    )
    for b, index in enumerate(indices):
        batch.regions[b] = regions(split, index)
        batch.patch_regions[b], batch.purity[b] = patch_regions(batch.regions[b], 1)
    return batch


def region_labels(split: str, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Names and colours of the regions, as `scenes.region_labels`."""
    names, colors = np.full((2, len(indices), MAX_REGIONS), -1)
    for b, index in enumerate(indices):
        shape, color = shape_label(split, index)
        names[b, :2] = CONCEPTS.index(SHAPES[shape]) if shape else -1, CONCEPTS.index(GROUND)
        colors[b, 0] = COLOR_LABELS.index(color) if color else -1
    return names, colors
