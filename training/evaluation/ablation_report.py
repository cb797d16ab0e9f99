"""The table and the figure of docs/ablations.md."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from .ablation_variants import VARIANTS

COLUMNS = {"questions": "questions", "iou": "referring IoU", "edit": "edits", "psnr": "PSNR, dB"}


def read_rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open())) if path.exists() else []


def report(path: Path, figure: Path) -> None:
    """Print the table, mean and range over seeds; write the figure."""
    rows = defaultdict(list)
    for row in read_rows(path):
        rows[row["variant"]].append(row)
    print("| tokens made by | tokens | " + " | ".join(COLUMNS.values()) + " | seeds |")
    print("| --- |" + " ---: |" * (len(COLUMNS) + 2))
    for name, variant in VARIANTS.items():
        if runs := rows.get(name):
            cells = [_cell([float(run[column]) for run in runs], column) for column in COLUMNS]
            tokens = np.mean([float(run["tokens"]) for run in runs])
            print(f"| {variant.title} | {tokens:.1f} | " + " | ".join(cells) + f" | {len(runs)} |")
    _plot(rows, figure)


def _cell(values: list[float], column: str) -> str:
    digits = 2 if column == "psnr" else 3
    show = lambda v: f"{v:.{digits}f}" if column == "psnr" else f"{v:.{digits}f}"[1:]  # noqa: E731
    spread = f" ({show(min(values))} to {show(max(values))})" if len(values) > 1 else ""
    return f"{show(np.mean(values))}{spread}"


def _plot(rows: dict[str, list[dict[str, str]]], figure: Path) -> None:
    """Mean and range over seeds against the number of tokens, one colour for each way of making them."""
    import matplotlib.pyplot as plt

    ways = {"(a)": "patches", "(b)": "codebook", "(c)": "learned queries", "(d)": "SeTok"}
    fig, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    for axis, column in zip(axes, ("questions", "iou", "edit")):
        for number, (letter, title) in enumerate(ways.items()):
            runs = [rows[name] for name in list(VARIANTS)[:7] if name in rows and VARIANTS[name].title[:3] == letter]
            tokens = [np.mean([float(run["tokens"]) for run in seeds]) for seeds in runs]
            values = [[float(run[column]) for run in seeds] for seeds in runs]
            mean = np.array([np.mean(v) for v in values])
            spread = [mean - [min(v) for v in values], [max(v) for v in values] - mean]
            axis.errorbar(tokens, mean, spread, fmt="o", capsize=4, color=f"C{number}", label=f"{letter} {title}")
        axis.set(xscale="log", xlim=(3, 350), xlabel="tokens per picture", title=COLUMNS[column])
        axis.set_xticks([4, 8, 16, 64, 256], [4, 8, 16, 64, 256], minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    fig.savefig(figure, dpi=110)
