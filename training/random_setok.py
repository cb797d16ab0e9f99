"""Write a SeTok of the default size with random weights, and its encoder as ONNX, to be timed.

    python -m training.random_setok --out target/peers/wide

A model folder as `training.export` writes it; `encoder.onnx` beside it as `training.export_onnx` does.
"""

import argparse
from pathlib import Path

import torch

from .bundle import write_bundle
from .export_onnx import export_encoder
from .model import SeTok
from .model.config import CONFIGS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    config = CONFIGS["tiny"]
    model = SeTok(config).eval()
    write_bundle(arguments.out, model)
    export_encoder(model.vision, config.vision.image_size, arguments.out / "encoder.onnx")


if __name__ == "__main__":
    main()
