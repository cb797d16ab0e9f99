"""Checkpoints from exported weights, where the ones of the training run are gone: `python -m training.photo.restore`.

Reads models/setokim-photo and writes CACHE/stage1.pt and names.pt, so that `python -m training.photo.run
--stage1-steps 1` goes on with stage II, or with more steps with stage I. Where the folder has adapters, CACHE/stage2.pt
is written too. What is not exported begins anew: the small decoder of stage I, and the optimizer's state.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from .cache import CACHE
from .data import PHOTOS
from .export import BLOCK
from .stage1 import open_stage1

LANGUAGE_PARTS = ("setok.merger.", "projector.", "mask_head.", "adapters.")


def read_exported(path: Path) -> dict[str, Tensor]:
    """Tensors as 32-bit floats in the shapes of README.md."""
    with safe_open(path, "pt") as file:
        kinds = file.metadata() or {}
        return {name: dequantized(file.get_tensor(name), kinds.get(name)) for name in file.keys()}  # noqa: SIM118


def dequantized(value: Tensor, kind: str | None) -> Tensor:
    if kind is None:
        return value.float()
    name, *shape = kind.split()
    if name != "q8_0":
        raise ValueError(f"tensors stored as {name} are not known here")
    blocks = value.unflatten(1, (-1, 2 + BLOCK))
    scale = blocks[..., :2].contiguous().view(torch.float16).float()
    quants = blocks[..., 2:].contiguous().view(torch.int8).float()
    return (scale * quants).reshape([int(size) for size in shape])


def stage1_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of README.md -> those of `Stage1`."""
    names = {}
    for name, value in tensors.items():
        if name.startswith("neck."):
            names[f"tokenizer.{name}"] = value
        elif name.startswith("setok.merger."):
            names[f"tokenizer.{name.removeprefix('setok.')}"] = value
        elif name == "phrase.scale":
            names["scale"] = value
        elif name.startswith(("phrase.of_token.", "phrase.of_cell.")):
            names[name.removeprefix("phrase.")] = value
        elif name.startswith("phrase."):
            names[name] = value
    return names


def language_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of README.md -> those of `PhotoLanguage` and `PhotoTasks`."""
    names = {}
    for name, value in tensors.items():
        if name.startswith("adapters."):
            _, layer, part, matrix = name.split(".")
            names[f"language.layers.{layer}.{part}.{matrix}"] = value
        elif name.startswith(LANGUAGE_PARTS):
            names[name.removeprefix("setok.")] = value
    return names


def checkpoint(state: dict[str, Tensor]) -> dict:
    """What `loop.Run` reads, of a run that has done one step."""
    return {"model": state, "average": state, "optimizer": None, "step": 1, "seconds": 0.0, "seen": 0}


def restore(folder: Path, args) -> None:
    tensors = read_exported(folder / "model.safetensors")
    model, _ = open_stage1(args, torch.device("cpu"))
    unknown = model.load_state_dict(stage1_names(tensors), strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"{folder} has tensors that stage I does not know: {', '.join(unknown)}")
    config = json.loads((folder / "config.json").read_text())
    model.tokenizer.threshold.fill_(config["cluster"]["threshold"])
    torch.save(checkpoint(model.state_dict()), args.cache / "stage1.pt")
    linear = {name: tensors[f"names.{name}"] for name in ("weight", "bias")}
    torch.save({"nouns": config["labels"]["names"], "linear": linear}, args.cache / "names.pt")
    language = language_names(tensors)
    if any(name.startswith("language.") for name in language):
        torch.save(checkpoint(language), args.cache / "stage2.pt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--from", dest="folder", type=Path, default=Path("models/setokim-photo"))
    arguments = parser.parse_args()
    arguments.limit = None
    restore(arguments.folder, arguments)
