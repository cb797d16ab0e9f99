"""Learning curves: `python -m training.photo.plot` draws logs/photo.png from the logs of all stages."""

import csv
from pathlib import Path

from .run import LOGS


def column(path: Path, x: str, y: str) -> tuple[list[float], list[float]]:
    rows = [row for row in csv.DictReader(path.open()) if row.get(x) and row.get(y)] if path.exists() else []
    return [float(row[x]) for row in rows], [float(row[y]) for row in rows]


def plot(logs: Path = LOGS) -> Path:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 7))
    for stage in ("stage1", "stage2", "stage3"):
        axes[0, 0].plot(*column(logs / f"{stage}-train.csv", "captions", "caption"), label=stage)
        for name, style in (("cider", "o-"), ("bleu4", "s--")):
            axes[0, 1].plot(*column(logs / f"{stage}-dev.csv", "captions_seen", name), style, label=f"{stage} {name}")
    axes[0, 0].set(title="caption loss", xlabel="captions seen")
    axes[0, 1].set(title="captions, dev", xlabel="captions seen")
    for name in ("purity", "purity_grid"):
        axes[1, 0].plot(*column(logs / "stage1-dev.csv", "captions_seen", name), "o-", label=name)
    axes[1, 0].set(title="purity of tokens, COCO128 val", xlabel="captions seen")
    for name in ("cell_point", "cell_recall50", "token_point", "token_recall50"):
        axes[1, 1].plot(*column(logs / "stage1-dev.csv", "captions_seen", name), "o-", label=name)
    axes[1, 1].set(title="phrases, dev", xlabel="captions seen")
    for axis in axes.flat:
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=7)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(logs / "photo.png", dpi=70)
    return logs / "photo.png"


if __name__ == "__main__":
    print(plot())
