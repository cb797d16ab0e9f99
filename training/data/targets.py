"""Sequences of a batch as padded arrays, with everything that the losses of stages 2 and 3 want to know of them.

They are made as NumPy arrays, which are quick to send from process to process; `Targets.to` makes tensors of them.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from .renderer import to_device
from .scenes import IMAGE_SIZE
from .tasks import IGNORE, Contents, Sequence
from .text import cell_index, relation_depth

# Where a region should be known: visual tokens that are read, that will be copied or generated, things in words,
# things to be marked, and what an instruction is about before it is carried out.
NAMED = ("naming", "planning", "mentions", "marked", "meant")


@dataclass
class Named:
    """n places of a batch and what should be known there, -1 where there is nothing to say."""

    rows: Tensor  # [n]
    positions: Tensor  # [n]
    names: Tensor  # [n]
    colors: Tensor  # [n]
    cells: Tensor  # [n]
    boxes: Tensor  # [n, 3] middle across, middle down, size, as shares of the image; only where there is a cell


@dataclass
class Compared:
    """n places before an answer about two things."""

    rows: Tensor  # [n]
    positions: Tensor  # [n]
    difference: Tensor  # [n, 3] of their boxes
    claim: Tensor  # [n, 1] how far what was said fits


@dataclass
class Counted:
    """n places where a name is heard, whether or not there is such a thing."""

    rows: Tensor  # [n]
    positions: Tensor  # [n]
    numbers: Tensor  # [n] of such things in the picture


@dataclass
class Targets:
    """B sequences of at most T tokens."""

    ids: Tensor  # [B, T]
    labels: Tensor  # [B, T]
    slots: Tensor  # [B, T] -1 for words
    lengths: list[int]
    visual: Tensor  # [v, 4] sequence, position, picture and token of every visual token
    generated_things: Tensor  # [d] bool: of the tokens to be generated, in the order of the sequences, those of objects
    masks: Tensor  # [s, 4] sequence, position of [SEG], picture and region
    named: dict[str, Named]
    compared: Compared
    counted: Counted

    def to(self, device: torch.device) -> "Targets":
        moved = {f.name: _to(getattr(self, f.name), device) for f in fields(self)}
        return Targets(**moved)


def _to(value, device: torch.device):
    if isinstance(value, np.ndarray):
        return to_device(value, device)
    if isinstance(value, Named | Compared | Counted):
        return type(value)(*(_to(getattr(value, f.name), device) for f in fields(value)))
    if isinstance(value, dict):
        return {key: _to(v, device) for key, v in value.items()}
    return value


def targets_of(sequences: list[Sequence], contents: Contents) -> Targets:
    rows = list(enumerate(sequences))
    lengths = [len(s.ids) for s in sequences]
    special, length = sequences[0].special, max(lengths)
    padded = (
        np.array([getattr(s, name) + [fill] * (length - len(s.ids)) for s in sequences])
        for name, fill in (("ids", special.pad), ("labels", IGNORE), ("slots", -1))
    )
    visual = [(b, at, *source) for b, s in rows for at, source in enumerate(s.visual) if source]
    generated = [source for b, at, *source in visual if sequences[b].labels[at] == special.visual]
    regions, known = contents.regions, _known(contents)
    places = {
        "naming": [(b, at, image, regions[image][token]) for b, s in rows for at, image, token in s.sources],
        "planning": [(b, at, image, regions[image][token]) for b, s in rows for at, image, token in s.plans],
        "mentions": [(b, *mention) for b, s in rows for mention in s.mentions],
        "marked": [(b, *mask) for b, s in rows for mask in s.masks],
        "meant": [(b, *meant) for b, s in rows for meant in s.meant],
    }
    return Targets(
        *padded,
        lengths,
        _columns(visual),
        np.array([contents.shown(*source) is not None for source in generated], bool),
        _columns(places["marked"]),
        {kind: _named(places[kind], *known) for kind in NAMED},
        _compared(sequences, contents),
        Counted(*_columns([(b, *heard) for b, s in rows for heard in s.counted], 3).T.copy()),
    )


def _columns(places: list[tuple[int, ...]], count: int = 4) -> np.ndarray:
    return np.array(places, np.int64).reshape(-1, count)


def _known(contents: Contents) -> tuple[list[np.ndarray], np.ndarray]:
    """Names, colours and cells of all regions [M, R], and their boxes [M, R, 3]."""
    cells, boxes = np.full_like(contents.names, -1), np.zeros((*contents.names.shape, 3), np.float32)
    for m, scene in enumerate(contents.scenes):
        for r, o in enumerate(scene.objects):
            cells[m, r], boxes[m, r] = cell_index(o), [v / IMAGE_SIZE for v in (*o.center, o.size)]
    return [contents.names, contents.colors, cells], boxes


def _named(places: list[tuple[int, int, int, int]], attributes: list[np.ndarray], boxes: np.ndarray) -> Named:
    rows, positions, images, regions = _columns(places).T
    said = (np.where(regions < 0, -1, a[images, regions]) for a in attributes)
    arrays = (rows, positions, *said, boxes[images, regions])
    return Named(*(np.ascontiguousarray(a) for a in arrays))


def _compared(sequences: list[Sequence], contents: Contents) -> Compared:
    rows, positions, difference, claim = [], [], [], []
    for row, sequence in enumerate(sequences):
        for position, image, *regions, words in sequence.comparisons:
            a, b = (contents.scenes[image].objects[region] for region in regions)
            rows.append(row)
            positions.append(position)
            difference.append([(v - w) / IMAGE_SIZE for v, w in zip((*a.center, a.size), (*b.center, b.size))])
            claim.append([relation_depth(words, a, b) / IMAGE_SIZE])
    return Compared(
        np.array(rows, np.int64),
        np.array(positions, np.int64),
        np.array(difference, np.float32).reshape(-1, 3),
        np.array(claim, np.float32).reshape(-1, 1),
    )
