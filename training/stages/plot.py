"""Learning curves of a run: `python -m training.stages.plot runs/stage1-nano` writes curves.png beside its logs."""

import argparse
import csv
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the choice of backend)

COLUMNS = 4
SMOOTHING = 10  # logged steps in a running mean


def read_columns(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]} if rows else {}


def plot_run(folder: Path) -> Path:
    """One panel for each metric: training (thin, with a running mean) and validation."""
    panels = []
    for log, smooth in (("train.csv", True), ("val.csv", False)):
        if (folder / log).exists():
            columns = read_columns(folder / log)
            names = [name for name in columns if name not in ("step", "seconds")]
            panels += [(log.removesuffix(".csv"), name, columns["step"], columns[name], smooth) for name in names]
    rows = -(-len(panels) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(4 * COLUMNS, 2.6 * rows), layout="constrained", squeeze=False)
    for axis, (log, name, steps, values, smooth) in zip(axes.flat, panels):
        axis.set_title(f"{log}: {name}", fontsize=9)
        axis.plot(steps, values, marker=None if smooth else "o", linewidth=0.6 if smooth else 1.5, color="tab:blue")
        if smooth and len(values) > SMOOTHING:
            mean = np.convolve(values, np.ones(SMOOTHING) / SMOOTHING, mode="valid")
            axis.plot(steps[SMOOTHING - 1 :], mean, color="tab:red")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    target = folder / "curves.png"
    figure.savefig(target, dpi=80)
    plt.close(figure)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    print(plot_run(parser.parse_args().folder))


if __name__ == "__main__":
    main()
