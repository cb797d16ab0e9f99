"""Choose `neighbors` and `threshold` of the clustering on validation scenes.

python -m training.tune runs/stage1-nano/checkpoint.pt
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from .evaluate import load_average, region_ious
from .model import SeTok
from .model.cluster import density_peaks
from .scenes import sample_batch

NEIGHBORS = (3, 4, 5, 6)
THRESHOLDS = tuple(round(0.30 + 0.05 * i, 2) for i in range(11))


@torch.no_grad()
def sweep(model: SeTok, count: int) -> list[dict[str, float]]:
    """Object IoU and token count error for every pair of settings, on `count` scenes of `val`."""
    batch = sample_batch("val", 0, count)
    image = torch.from_numpy(batch.images).permute(0, 3, 1, 2).float() / 127.5 - 1
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--count", type=int, default=400)
    arguments = parser.parse_args()
    rows = sweep(load_average(arguments.checkpoint), arguments.count)
    for row in [*rows, {"best": 0} | best_setting(rows)]:
        print("  ".join(f"{name} {value:.3g}" for name, value in row.items()))


if __name__ == "__main__":
    main()
