"""Metrics from predictions: `python -m training.photo.score --data DIR --split dev PREDICTIONS.jsonl`.

A line is {"image", "caption"} or {"image", "phrase", "found", "score", "box": [x0, y0, x1, y1], "point": [x, y]}.
Captions are compared in lower case without punctuation, by pycocoevalcap. Phrases count on images of known size; the
boxes of one phrase of one image are one thing: their union.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from .data import read_table
from .text import normalized


def score_captions(predicted: dict[str, str], references: dict[str, list[str]]) -> dict[str, float]:
    """BLEU-1 to 4, CIDEr and ROUGE-L, in per cent."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    truth = {image: [normalized(caption) for caption in references[image]] for image in predicted}
    said = {image: [normalized(caption) or "nothing"] for image, caption in predicted.items()}
    bleu, _ = Bleu(4).compute_score(truth, said, verbose=0)
    scores = {f"bleu{i + 1}": value for i, value in enumerate(bleu)}
    scores["cider"], _ = Cider().compute_score(truth, said)
    scores["rouge"], _ = Rouge().compute_score(truth, said)
    return {name: round(100 * float(value), 2) for name, value in scores.items()}


def union_of(boxes: np.ndarray) -> np.ndarray:
    """[n, 4] -> the box around them."""
    return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])


def box_iou(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = np.prod(np.clip(high - low, 0, None))
    return float(common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common + 1e-9))


def holds(box: np.ndarray, point: np.ndarray) -> bool:
    return bool((box[:2] <= point).all() and (point <= box[2:]).all())


def score_phrases(predictions: list[dict], boxes: dict[tuple[str, str], np.ndarray]) -> dict[str, float]:
    """R@.5 of the box, mean IoU, and how often the point lies in one of the boxes; what was not found is wrong."""
    ious, points = [], []
    for line in predictions:
        truth = boxes.get((line["image"], line["phrase"]))
        if truth is None:
            continue
        found = line["found"] and line.get("box") is not None
        ious.append(box_iou(np.array(line["box"]), union_of(truth)) if found else 0.0)
        point = line.get("point") if line["found"] else None
        points.append(point is not None and any(holds(box, np.array(point)) for box in truth))
    if not ious:
        return {}
    hits = [iou >= 0.5 for iou in ious]
    scores = {"phrase_recall50": np.mean(hits), "phrase_iou": np.mean(ious), "phrase_point": np.mean(points)}
    return {**{name: round(float(value), 4) for name, value in scores.items()}, "phrases": len(ious)}


def score_file(predictions: Path, data: Path, split: str) -> dict[str, float]:
    lines = [json.loads(line) for line in predictions.read_text().splitlines() if line]
    references = defaultdict(list)
    for row in read_table(data / "captions.tsv"):
        if row["split"] == split:
            references[row["image"]].append(row["caption"])
    boxes = defaultdict(list)
    for row in read_table(data / "phrases.tsv"):
        if row["split"] == split and row["size_known"] == "1":
            boxes[row["image"], row["phrase"]].append([float(row[key]) for key in ("x0", "y0", "x1", "y1")])
    captions = {line["image"]: line["caption"] for line in lines if "caption" in line and line["image"] in references}
    scores = score_captions(captions, references) | {"captions": len(captions)} if captions else {}
    truth = {key: np.array(found) for key, found in boxes.items()}
    return scores | score_phrases([line for line in lines if "phrase" in line], truth)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="dev")
    arguments = parser.parse_args()
    print(json.dumps(score_file(arguments.predictions, arguments.data, arguments.split), indent=1))
