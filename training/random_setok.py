"""Write a SeTok with random weights, and its encoder as ONNX: its speed does not depend on what it has learned.

    python -m training.random_setok --out target/peers/wide --width 256 --heads 8

A model folder as `training.export` writes it; `encoder.onnx` beside it as `training.export_onnx` does.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from .bundle import write_bundle
from .export_onnx import export_encoder
from .model import ModelConfig, SeTok


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--heads", type=int, default=8)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    config = ModelConfig()
    sizes = {"width": arguments.width, "heads": arguments.heads}
    parts = {name: replace(getattr(config, name), **sizes) for name in ("vision", "merger", "detokenizer")}
    model = SeTok(replace(config, **parts)).eval()
    write_bundle(arguments.out, model)
    export_encoder(model.vision, arguments.out / "encoder.onnx")


if __name__ == "__main__":
    main()
