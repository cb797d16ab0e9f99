"""Write the vision encoder of a model folder as ONNX, so that other runtimes can be timed on the same weights.

    python -m training.export_onnx models/setokim-tiny --out encoder.onnx

Input `image` [1, 3, S, S], normalised; output `features` [1, N, C]. Needs the packages of the extra `onnx`.
"""

import argparse
from pathlib import Path

import torch
from torch import nn

from .bundle import read_bundle


def export_encoder(encoder: nn.Module, size: int, out: Path) -> None:
    """`encoder` takes an image [1, 3, size, size]."""
    image = torch.zeros(1, 3, size, size)
    out.parent.mkdir(parents=True, exist_ok=True)
    program = torch.onnx.export(encoder, (image,), input_names=["image"], output_names=["features"], dynamo=True)
    program.save(out, external_data=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    vision = read_bundle(arguments.model).vision
    export_encoder(vision, 2 ** len(vision.stem) * round(vision.pos.shape[-2] ** 0.5), arguments.out)


if __name__ == "__main__":
    main()
