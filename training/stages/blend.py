"""Weights between those of two checkpoints, of which one went on from the other, or both from a third
("model soup", Wortsman et al. 2022).

    python -m training.stages.blend models/setokim-tiny runs/stage3-new/checkpoint.pt --share 0.6 --out runs/blend.pt

What a short run learned is often kept by the blend while what it forgot comes back. Everything but the averaged weights
is that of the newer checkpoint.
"""

import argparse
from pathlib import Path

import torch

from ..model.bundle import read_tensors


def blend(old: dict[str, torch.Tensor], new: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    """`share` of `new`, tensor by tensor. What only `new` has, as a head for a loss that is new, stays as it is."""
    if missing := old.keys() - new.keys():
        raise ValueError(f"the newer one lacks {sorted(missing)[:3]}")
    between = {name: torch.lerp(old[name], new[name], share) for name in old if new[name].is_floating_point()}
    return new | between


def averaged(path: Path) -> dict[str, torch.Tensor]:
    """The averaged weights of a checkpoint, or a model folder's by the names of a checkpoint."""
    if path.is_dir():
        return {f"setokim.{name}": weight for name, weight in read_tensors(path).items()}
    return torch.load(path, map_location="cpu", weights_only=True)["average"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="checkpoint or model folder")
    parser.add_argument("new", type=Path, help="checkpoint")
    parser.add_argument("--share", type=float, default=0.5, help="share of the newer weights, 0 to 1")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    new = torch.load(arguments.new, map_location="cpu", weights_only=True)
    new["average"] = blend(averaged(arguments.old), new["average"], arguments.share)
    torch.save(new, arguments.out)


if __name__ == "__main__":
    main()
