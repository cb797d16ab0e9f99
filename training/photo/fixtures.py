"""A tiny encoder, neck and merger of the same shape rules with their answers: tests/fixtures/photo_tiny.safetensors.

`python -m training.photo.fixtures`. Weights in the names of the README; `input` [3, 64, 64] and what follows from it:
`stride8`, `stride16`, `stride32`, `head` as [C, h, w]; `features` [16, W] before, `normal` after the LayerNorm;
`labels` [16], `tokens` [L, D]; `logits` [classes]. The config is beside it, photo_tiny.json.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from .encoder import Encoder, EncoderConfig, Stage
from .tokenizer import Maps, PhotoTokenizer, TokenizerConfig, by_area

ENCODER = EncoderConfig(
    stem=8,
    stages=(
        Stage(1, 3, 1, 1, 8),
        Stage(2, 3, 2, 2, 12),
        Stage(2, 5, 2, 2, 16),
        Stage(2, 3, 2, 2, 16),
        Stage(1, 5, 1, 2, 20),
        Stage(2, 5, 2, 2, 24),
        Stage(1, 3, 1, 2, 28),
    ),
    head=40,
    classes=10,
)
TOKENIZER = TokenizerConfig(
    grid=4, channels8=16, channels16=20, channels32=28, head=40, width=32, heads=2, context_depth=2, neighbors=3,
    max_clusters=6, token_width=24,
)  # fmt: skip
IMAGE_SIZE = 64
THRESHOLD = 0.14


def shaken(module: nn.Module) -> nn.Module:
    """Biases and norms that are not all zero or one."""
    with torch.no_grad():
        for p in module.parameters():
            if p.ndim == 1:
                p.add_(torch.randn_like(p) * 0.2)
    return module.eval().requires_grad_(False)


def tiny_parts() -> tuple[Encoder, PhotoTokenizer]:
    torch.manual_seed(11)
    encoder, tokenizer = shaken(Encoder(ENCODER)), shaken(PhotoTokenizer(TOKENIZER))
    tokenizer.threshold.fill_(THRESHOLD)
    return encoder, tokenizer


@torch.no_grad()
def tiny_tensors() -> dict[str, torch.Tensor]:
    encoder, tokenizer = tiny_parts()
    image = torch.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE) * 2 - 1
    levels = encoder(image)
    head = encoder.head_map(levels[2])
    maps = Maps(*(level.permute(0, 2, 3, 1) for level in (*levels, head)))
    features = tokenizer.neck(maps)
    normal = F.layer_norm(features, features.shape[-1:], eps=TOKENIZER.norm_eps)
    labels, valid = by_area(tokenizer.cluster(normal, exact=True))
    tokens = tokenizer.merger(tokenizer.summarize(normal, maps.head, labels, valid))[valid]
    answers = {
        "input": image[0],
        "stride8": levels[0][0],
        "stride16": levels[1][0],
        "stride32": levels[2][0],
        "head": head[0],
        "logits": encoder.classify(head)[0],
        "features": features[0],
        "normal": normal[0],
        "labels": labels[0].int(),
        "tokens": tokens,
    }
    weights = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    weights |= {name: value for name, value in tokenizer.state_dict().items() if name.startswith("neck.")}
    weights |= {f"setok.{name}": v for name, v in tokenizer.state_dict().items() if name.startswith("merger.")}
    return {name: value.contiguous() for name, value in (weights | answers).items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("tests/fixtures"))
    out = parser.parse_args().out
    save_file(tiny_tensors(), out / "photo_tiny.safetensors")
    config = {
        "encoder": asdict(ENCODER) | {"image_size": IMAGE_SIZE},
        "tokenizer": asdict(TOKENIZER) | {"threshold": THRESHOLD},
    }
    (out / "photo_tiny.json").write_text(json.dumps(config, indent=2) + "\n")
