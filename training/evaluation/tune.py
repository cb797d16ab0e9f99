"""Choose `neighbors` and `threshold` of the clustering, or with `--text` the `picture_margin`, on validation scenes.

python -m training.evaluation.tune runs/stage1-nano/checkpoint.pt
python -m training.evaluation.tune runs/stage3-nano/checkpoint.pt --text models/setokim-tiny/tokenizer.json
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from ..data.edits import absent_edit, edit_any
from ..data.scenes import sample_batch
from ..data.speaker import Speaker
from ..data.text import REFUSALS
from ..model import SeTok
from ..model.checkpoints import load_setok, load_setokim
from ..model.cluster import density_peaks
from ..model.setokim import Setokim
from ..stages.metrics import images_to_tensor, region_ious
from .answer import encode_image, prompt

NEIGHBORS = (3, 4, 5, 6)
THRESHOLDS = tuple(round(0.30 + 0.05 * i, 2) for i in range(11))
MARGINS = tuple(0.25 * i for i in range(17))


@torch.no_grad()
def sweep(model: SeTok, count: int) -> list[dict[str, float]]:
    """Object IoU and token count error for every pair of settings, on `count` scenes of `val`."""
    batch = sample_batch("val", 0, count)
    image = images_to_tensor(batch.images)
    features = torch.cat([model.encode(chunk) for chunk in image.split(50)])
    regions = np.array([len(np.unique(row)) for row in batch.patch_regions])
    rows = []
    for neighbors in NEIGHBORS:
        for threshold in THRESHOLDS:
            clusters = density_peaks(features, neighbors, threshold, model.config.cluster.max_clusters, exact=False)
            tokens = clusters.valid.sum(1).numpy()
            ious = [
                iou
                for b, label in enumerate(clusters.labels.numpy())
                for region, iou in region_ious(batch.patch_regions[b], label).items()
                if region < batch.object_counts[b]
            ]
            rows.append(
                {
                    "neighbors": neighbors,
                    "threshold": threshold,
                    "object_iou": float(np.mean(ious)),
                    "tokens_off_by": float(np.abs(tokens - regions).mean()),
                    "tokens_exact": float((tokens == regions).mean()),
                    "tokens": float(tokens.mean()),
                }
            )
    return rows


def best_setting(rows: list[dict[str, float]]) -> dict[str, float]:
    """Most object IoU, where a token too many or too few weighs as much as .2 of IoU."""
    return max(rows, key=lambda row: row["object_iou"] - 0.2 * row["tokens_off_by"])


@torch.no_grad()
def sweep_margin(model: Setokim, text: Tokenizer, count: int) -> list[dict[str, float]]:
    """How many instructions are followed and how many about absent things refused, on `count` scenes of `val`."""
    batch, image_start = sample_batch("val", 0, count), model.config.special_tokens.image_start
    first_words = [text.encode(refusal).ids[0] for refusal in REFUSALS]

    def lead(words: str, pixels: np.ndarray) -> float:
        """Of [Img] over the first word of a refusal, in logits."""
        sequence = prompt(model, text, words, [encode_image(model, torch.from_numpy(pixels).float())])
        logits = model.llm.logits(model(*sequence.tensors())[0, -1])
        return float(logits[image_start] - logits[first_words].max())

    present, absent = [], []
    for index, (scene, pixels) in enumerate(zip(batch.scenes, batch.images)):
        speaker = Speaker(np.random.default_rng(index))
        present.append(lead(edit_any(speaker, scene).instruction, pixels))
        absent.append(lead(absent_edit(speaker, scene)[0], pixels))
    return [
        {
            "picture_margin": margin,
            "followed": float(np.mean(np.array(present) > margin)),
            "refused": float(np.mean(np.array(absent) <= margin)),
        }
        for margin in MARGINS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--text", type=Path, help="tokenizer.json: tune the margin of a model of stage 3 or 4")
    parser.add_argument("--count", type=int, default=400)
    arguments = parser.parse_args()
    if arguments.text:
        text = Tokenizer.from_file(str(arguments.text))
        rows = sweep_margin(load_setokim(arguments.checkpoint), text, arguments.count)
        best = max(rows, key=lambda row: min(row["followed"], row["refused"]))
    else:
        rows = sweep(load_setok(arguments.checkpoint), arguments.count)
        best = best_setting(rows)
    for row in [*rows, {"best": 0} | best]:
        print("  ".join(f"{name} {value:.3g}" for name, value in row.items()))


if __name__ == "__main__":
    main()
