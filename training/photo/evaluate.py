"""What a checkpoint does on dev photos: captions, purity of tokens, phrases. Never on photos of training."""

import csv
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .data import load_panoptic, load_phrases
from .features import MapReader
from .score import box_iou, holds, score_captions, union_of
from .tokenizer import PhotoTokenizer, Tokens, by_area


def in_batches(items: list, size: int = 25):
    for i in range(0, len(items), size):
        yield items[i : i + size]


@torch.no_grad()
def dev_captions(model, data, limit: int) -> dict[str, str]:
    """Greedy captions of the small decoder."""
    rows = data.cache.of_archives("flickr8k-dev")
    names = [name for name in data.captions["dev"] if name in rows][:limit]
    said = {}
    for group in in_batches(names):
        tokens = model.tokenizer(data.reader.read([rows[name] for name in group]))
        for name, numbers in zip(group, model.decoder.greedy(tokens.tokens, tokens.valid)):
            said[name] = data.pieces.decode(numbers)
    return said


def purity(labels: np.ndarray, ids: np.ndarray) -> float:
    """Share of the labelled pixels that belong to the commonest segment of their cluster."""
    side = ids.shape[0] // labels.shape[0]
    spread = np.kron(labels, np.ones((side, side), int))
    good = 0
    for cluster in np.unique(labels):
        inside = ids[(spread == cluster) & (ids > 0)]
        if len(inside):
            good += np.unique(inside, return_counts=True)[1].max()
    return good / max((ids > 0).sum(), 1)


def grid_labels(grid: int, cells: int) -> np.ndarray:
    """A partition that does not look at the photo: rows times columns nearest to `cells`, at least as many."""
    rows = max(1, round(cells**0.5 * 0.75))
    columns = -(-cells // rows)
    place = np.arange(grid)
    return (place[:, None] * rows // grid) * columns + place[None] * columns // grid


@torch.no_grad()
def purity_of_tokens(tokenizer: PhotoTokenizer, reader: MapReader, photos: Path) -> dict[str, float]:
    """COCO128 val: purity of the tokens, and of a grid of as many cells, photo by photo."""
    grid = tokenizer.config.grid
    rows = reader.cache.of_archives("coco128")
    panoptic = {name: ids for name, ids in load_panoptic(photos)["val2017"].items() if name in rows}
    found, blind, counts = [], [], []
    for group in in_batches(list(panoptic)):
        features = tokenizer.features(reader.read([rows[name] for name in group]))
        labels, valid = by_area(tokenizer.cluster(features, exact=True))
        for i, name in enumerate(group):
            ids = resized(panoptic[name], grid * 8)
            count = int(valid[i].sum())
            found.append(purity(labels[i].view(grid, grid).numpy(), ids))
            blind.append(purity(grid_labels(grid, count), ids))
            counts.append(count)
    if not found:
        return {}
    return {
        "purity": round(float(np.mean(found)), 4),
        "purity_grid": round(float(np.mean(blind)), 4),
        "tokens": round(float(np.mean(counts)), 2),
    }


def resized(ids: np.ndarray, size: int) -> np.ndarray:
    rows = (np.arange(size) + 0.5) * ids.shape[0] / size
    columns = (np.arange(size) + 0.5) * ids.shape[1] / size
    return ids[rows.astype(int)][:, columns.astype(int)]


def box_of_mask(mask: np.ndarray) -> np.ndarray:
    """Cells [g, g] -> the box around them, 0..1."""
    ys, xs = np.where(mask)
    side = mask.shape[0]
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) / side


@torch.no_grad()
def dev_phrases(model, data, photos: Path, limit: int) -> dict[str, float]:
    """Phrases of dev photos of known size: by cells (the mask above half of the best), and by the best token."""
    rows = data.cache.of_archives("flickr8k-dev")
    phrases = [p for p in load_phrases(photos)["dev"] if p.size_known and p.image in rows][:limit]
    names = sorted({p.image for p in phrases})
    grid = model.tokenizer.config.grid
    results: dict[str, list[float]] = {"cell_point": [], "cell_recall50": [], "token_point": [], "token_recall50": []}
    for group in in_batches(names):
        tokens: Tokens = model.tokenizer(data.reader.read([rows[name] for name in group]))
        cells, directions = model.cell_directions(tokens.features), model.token_directions(tokens.tokens)
        for phrase in (p for p in phrases if p.image in group):
            i = group.index(phrase.image)
            wanted = model.phrase(data.phrase_mean(phrase.text))
            place = smoothed((cells[i] @ wanted).view(grid, grid))
            point, mask = best_point(place), place_mask(place)
            record(results, "cell", phrase.boxes, point, mask)
            fit = (directions[i] @ wanted).masked_fill(~tokens.valid[i], -9)
            mask = (tokens.labels[i] == fit.argmax()).view(grid, grid).numpy()
            record(results, "token", phrase.boxes, centre_inside(mask), mask)
    return {name: round(float(np.mean(values)), 4) for name, values in results.items() if values}


def smoothed(place: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(place[None, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[0, 0]


def best_point(place: Tensor) -> np.ndarray:
    side = place.shape[0]
    best = int(place.argmax())
    return np.array([best % side + 0.5, best // side + 0.5]) / side


def place_mask(place: Tensor) -> np.ndarray:
    """Cells nearer to the best cell's score than to the mean of the others."""
    return (place > (place.max() + place.mean()) / 2).numpy()


def centre_inside(mask: np.ndarray) -> np.ndarray:
    """The cell of a mask that is nearest to its mean."""
    ys, xs = np.where(mask)
    i = ((ys - ys.mean()) ** 2 + (xs - xs.mean()) ** 2).argmin()
    return np.array([xs[i] + 0.5, ys[i] + 0.5]) / mask.shape[0]


def record(results: dict, kind: str, boxes: np.ndarray, point: np.ndarray, mask: np.ndarray) -> None:
    results[f"{kind}_point"].append(any(holds(box, point) for box in boxes))
    results[f"{kind}_recall50"].append(box_iou(box_of_mask(mask), union_of(boxes)) >= 0.5)


def append_row(path: Path, row: dict) -> None:
    """A line of a CSV file whose columns may grow: the whole file is written again then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    old = list(csv.DictReader(path.open())) if path.exists() else []
    columns = list(dict.fromkeys(key for line in [*old, row] for key in line))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows([*old, row])


def evaluate_stage1(model, data, photos: Path, limit: int, examples: Path | None = None) -> dict[str, float]:
    start = time.time()
    said = dev_captions(model, data, limit)
    scores = score_captions(said, data.captions["dev"]) | {"captions": len(said)}
    scores |= purity_of_tokens(model.tokenizer, data.reader, photos)
    scores |= dev_phrases(model, data, photos, limit)
    if examples is not None:
        first = {name: said[name] for name in list(said)[:20]}
        examples.write_text(json.dumps({"scores": scores, "captions": first}, indent=1))
    return scores | {"seconds": round(time.time() - start)}
