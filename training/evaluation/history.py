"""What compute bought: validation of stage 3 over all its runs, one after another.

`python -m training.evaluation.history` draws docs/images/learning-curve.png from training/logs.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FixedLocator

from ..stages.plot import read_columns

ORDINALS = ["second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"]
ORDINALS += ["thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth"]
ORDINALS += ["twentieth", "twenty-first"]
RUNS = ["stage3", *(f"stage3-{number}" for number in ORDINALS)]
BATCH = 32  # sequences
OTHER_BATCHES = {"stage3-eleventh": 1024, "stage3-nineteenth": 64}
ON_A_GPU = "stage3-eleventh"
# What was missed: one minus a column of the validation log.
MISSED = {"questions": "questions", "segment_iou": "IoU of masks", "caption": "captions"}


def sequences_and_scores(logs: Path) -> list[tuple[str, np.ndarray, dict[str, np.ndarray]]]:
    """Of each run its name, sequences seen since stage 3 began at each validation, and the log's columns."""
    runs, seen = [], 0
    for name in RUNS:
        columns = read_columns(logs / f"{name}-val.csv")
        steps = columns["step"] * OTHER_BATCHES.get(name, BATCH)
        runs.append((name, seen + steps, columns))
        seen += steps[-1]
    return runs


def plot(logs: Path, target: Path) -> None:
    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    runs = sequences_and_scores(logs)
    for number, (column, title) in enumerate(MISSED.items()):
        for name, sequences, columns in runs:
            style = {"marker": "*", "markersize": 13} if name == ON_A_GPU else {"marker": ".", "linewidth": 1}
            label = title if name == "stage3" else None
            axis.plot(sequences / 1e6, 1 - columns[column], color=f"C{number}", label=label, **style)
    axis.set(yscale="log", xlabel="millions of sequences of stage 3", ylabel="missed on val (1 - score)")
    axis.yaxis.set_major_locator(FixedLocator([0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8]))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("")
    axis.set_title("Each line is a run; the star is the five minutes on a GPU", fontsize=10)
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    figure.savefig(target, dpi=100)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=Path, default=Path("training/logs"))
    parser.add_argument("--out", type=Path, default=Path("docs/images/learning-curve.png"))
    arguments = parser.parse_args()
    plot(arguments.logs, arguments.out)


if __name__ == "__main__":
    main()
