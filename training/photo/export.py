"""Trained parts, packed, with their config: `python -m training.photo.export --cache CACHE`.

Writes models/setokim-photo/{model.safetensors, config.json}: neck, merger, phrase encoder from stage I, names of tokens
and, as far as it has come, merger, projector and adapters from stage II or III, with the latter's mask head. Names and
shapes: README.md. The encoder is not in it: `--encoder FILE` writes it apart, as 32-bit floats with folded batch norms.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from .cache import CACHE
from .config import bundle_config
from .encoder import IMAGE_SIZE, EncoderConfig, pretrained_encoder
from .mask_head import WIDTH
from .name_head import MOST_NAMES, UNSURE
from .names import THINGS, class_nouns
from .packs import DESCRIBE, HINT
from .stage2 import RANK, SCALE
from .stage3 import FIND, SEG
from .tokenizer import TokenizerConfig

BLOCK = 32
LARGEST = 12 * 1000 * 1000  # bytes


def encoder_tensors() -> dict[str, Tensor]:
    """`encoder.*`, as in the README."""
    return {f"encoder.{name}": value.contiguous() for name, value in pretrained_encoder().state_dict().items()}


def trained_tensors(stage1: dict[str, Tensor], stage2: dict[str, Tensor] | None, names: dict) -> dict[str, Tensor]:
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
    tensors |= {f"names.{name}": value for name, value in names["linear"].items()}
    for name, value in (stage2 or {}).items():
        if name.startswith("merger."):
            tensors[f"setok.{name}"] = value
        if name.startswith(("projector.", "mask_head.")):
            tensors[name] = value
        if name.startswith("language.layers."):
            _, _, layer, part, matrix = name.split(".")
            tensors[f"adapters.{layer}.{part}.{matrix}"] = value
    return {name: value.float().contiguous() for name, value in tensors.items()}


def stored(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """How the tensors lie in the file, and its metadata: matrices as `q8_0` (docs/weights.md) where their rows
    are whole blocks of 32, all else as 16-bit floats."""
    files, metadata = {}, {}
    for name, value in tensors.items():
        rows = value.flatten(1) if value.ndim > 1 else value
        if name.endswith((".weight", ".a")) and value.ndim > 1 and rows.shape[1] % BLOCK == 0:
            files[name] = q8_0(rows)
            metadata[name] = " ".join(["q8_0", *map(str, value.shape)])
        else:
            files[name] = value.half()
    return files, metadata


def q8_0(rows: Tensor) -> Tensor:
    """[n, m] -> bytes [n, m / 32 * 34]: for each block of 32 a 16-bit scale and 32 signed bytes."""
    blocks = rows.unflatten(1, (-1, BLOCK))
    scale = (blocks.abs().amax(-1, keepdim=True) / 127).half()
    quants = (blocks / scale.float().clamp(min=1e-12)).round().clamp(-127, 127).to(torch.int8)
    return torch.cat([scale.view(torch.uint8), quants.view(torch.uint8)], -1).flatten(1).contiguous()


def config_of(stage1: dict[str, Tensor], stage: str, nouns: list[str]) -> dict:
    threshold = round(float(stage1["tokenizer.threshold"]), 6)
    hidden, width_of_word = stage1["phrase.fc1.weight"].shape
    phrase = {"input": width_of_word, "hidden": hidden, "width": len(stage1["phrase.fc2.bias"])}
    config = bundle_config("setokim-photo", IMAGE_SIZE, EncoderConfig(), TokenizerConfig(), threshold, phrase)
    config |= {
        "labels": {
            "names": nouns,
            "objects": sum(noun in THINGS for noun in nouns),
            "colors": [],
            "classes": class_nouns(),
            "unsure": UNSURE,
        },
        "chat": {"template": "chat_ml", "segment": SEG},
        "prompts": {"describe": DESCRIBE[0], "segment": FIND, "names": HINT.format("{}"), "most_names": MOST_NAMES},
    }
    if stage != "stage1":
        config["adapters"] = {"rank": RANK, "scale": SCALE, "parts": ["q", "v", "o", "down"]}
    if stage == "stage3":
        config["mask_head"] = {"width": WIDTH, "refine": True}
        config["refusals"] = ["There is no"]
    return config


def export(cache: Path, out: Path) -> None:
    def averaged(path: Path) -> dict[str, Tensor]:
        return torch.load(path, map_location="cpu", weights_only=False)["average"]

    stage1 = averaged(cache / "stage1.pt")
    later = next((cache / f"{name}.pt" for name in ("stage3", "stage2") if (cache / f"{name}.pt").exists()), None)
    names = torch.load(cache / "names.pt", map_location="cpu")
    tensors, metadata = stored(trained_tensors(stage1, averaged(later) if later else None, names))
    size = sum(value.nbytes for value in tensors.values())
    if size > LARGEST:
        raise ValueError(f"the trained parts take {size} bytes, more than {LARGEST}")
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "model.safetensors", metadata)
    stage = later.stem if later else "stage1"
    (out / "config.json").write_text(json.dumps(config_of(stage1, stage, names["nouns"]), indent=2) + "\n")
    print(f"{len(tensors)} tensors, {size / 1e6:.2f} MB, {stage}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, default=Path("models/setokim-photo"))
    parser.add_argument("--encoder", type=Path)
    arguments = parser.parse_args()
    if arguments.encoder:
        save_file(encoder_tensors(), arguments.encoder)
    export(arguments.cache, arguments.out)
