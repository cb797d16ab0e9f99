"""Trained parts as 16-bit floats with their config: `python -m training.photo.export --cache CACHE`.

Writes models/setokim-photo/{model.safetensors, config.json}: neck, merger, phrase encoder from stage I or, as far as it
has come, merger, projector and adapters from stage II. Names and shapes: README.md. The encoder is not in it: `--encoder FILE`
writes it apart, as 32-bit floats with folded batch norms.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from .cache import CACHE
from .encoder import IMAGE_SIZE, EncoderConfig, pretrained_encoder
from .packs import DESCRIBE
from .stage2 import RANK, SCALE
from .tokenizer import TokenizerConfig

LARGEST = 12 * 1000 * 1000  # bytes


def encoder_tensors() -> dict[str, Tensor]:
    """`encoder.*`, as in the README."""
    return {f"encoder.{name}": value.contiguous() for name, value in pretrained_encoder().state_dict().items()}


def trained_tensors(stage1: dict[str, Tensor], stage2: dict[str, Tensor] | None) -> dict[str, Tensor]:
    """Averaged weights of the checkpoints -> the names of the README."""
    tensors = {}
    for name, value in stage1.items():
        if name.startswith("tokenizer.neck."):
            tensors[name.removeprefix("tokenizer.")] = value
        if name.startswith("tokenizer.merger.") and stage2 is None:
            tensors["setok." + name.removeprefix("tokenizer.")] = value
        if name.startswith("phrase."):
            tensors[name] = value
        if name.startswith(("of_token.", "of_cell.")):
            tensors[f"phrase.{name}"] = value
    tensors["phrase.scale"] = stage1["scale"].clamp(max=4.0)
    for name, value in (stage2 or {}).items():
        if name.startswith("merger."):
            tensors[f"setok.{name}"] = value
        if name.startswith(("projector.", "mask_head.")):
            tensors[name] = value
        if name.startswith("language.layers."):
            _, _, layer, part, matrix = name.split(".")
            tensors[f"adapters.{layer}.{part}.{matrix}"] = value
    return {name: value.half().contiguous() for name, value in tensors.items()}


def config_of(stage1: dict[str, Tensor], has_language: bool) -> dict:
    tokenizer, encoder = TokenizerConfig(), EncoderConfig()
    config = {
        "format": 1,
        "model": "setokim-photo",
        "encoder": {
            "kind": "efficientnet-lite2",
            "image_size": IMAGE_SIZE,
            "mean": 127.0,
            "scale": 128.0,
            **asdict(encoder),
        },
        "tokenizer": asdict(tokenizer) | {"threshold": round(float(stage1["tokenizer.threshold"]), 6)},
        "phrase": {"hidden": 512, "width": len(stage1["phrase.fc2.bias"])},
    }
    if has_language:
        config["adapters"] = {"rank": RANK, "scale": SCALE, "parts": ["q", "v", "o", "down"]}
        config["prompt"] = {"describe": DESCRIBE[0], "seg": "<file_sep>"}
    return config


def export(cache: Path, out: Path) -> None:
    def averaged(path: Path) -> dict[str, Tensor]:
        return torch.load(path, map_location="cpu", weights_only=False)["average"]

    stage1 = averaged(cache / "stage1.pt")
    later = next((cache / f"{name}.pt" for name in ("stage3", "stage2") if (cache / f"{name}.pt").exists()), None)
    tensors = trained_tensors(stage1, averaged(later) if later else None)
    size = sum(value.nbytes for value in tensors.values())
    if size > LARGEST:
        raise ValueError(f"the trained parts take {size} bytes, more than {LARGEST}")
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "model.safetensors")
    (out / "config.json").write_text(json.dumps(config_of(stage1, later is not None), indent=2) + "\n")
    print(f"{len(tensors)} tensors, {size / 1e6:.2f} MB, {later.stem if later else 'stage1'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, default=Path("models/setokim-photo"))
    parser.add_argument("--encoder", type=Path)
    arguments = parser.parse_args()
    if arguments.encoder:
        save_file(encoder_tensors(), arguments.encoder)
    export(arguments.cache, arguments.out)
