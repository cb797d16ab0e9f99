"""Metrics of the tokenizer and detokenizer on held-out scenes.

python -m training.evaluation.tokenizer runs/stage1/checkpoint.pt --split test --count 500 --out metrics.json
"""

import argparse
import dataclasses
import json
from pathlib import Path

import torch

from ..model.checkpoints import add_clustering_options, chosen_clustering, load_setok
from ..stages.metrics import evaluate_scenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="or a model folder")
    parser.add_argument("--split", default="val")
    parser.add_argument("--count", type=int, default=500)
    add_clustering_options(parser)
    parser.add_argument("--out", type=Path, help="also write the metrics as JSON")
    arguments = parser.parse_args()
    model = load_setok(arguments.checkpoint, chosen_clustering(arguments))
    metrics = evaluate_scenes(model, arguments.split, arguments.count)
    report = {
        "split": arguments.split,
        "scenes": arguments.count,
        "clustering": dataclasses.asdict(model.config.cluster),
        "metrics": metrics,
    }
    if arguments.checkpoint.is_file():
        state = torch.load(arguments.checkpoint, map_location="cpu")
        report |= {"images": state["images"], "minutes": state["elapsed"] / 60}
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    for name, value in metrics.items():
        print(f"{name:34s} {value:.4f}")


if __name__ == "__main__":
    main()
