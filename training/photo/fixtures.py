"""A tiny encoder, neck, merger and phrase encoder of the same shape rules, with their answers.

`python -m training.photo.fixtures` writes tests/fixtures/photo_tiny.safetensors and its config, photo_tiny.json.
Weights in the names of the README; `input` [3, 64, 64] and what follows from it: `stride8`, `stride16`, `stride32`,
`head` as [C, h, w]; `features` [16, W] before, `normal` after the LayerNorm; `labels` [16], `tokens` [L, D]; `logits`
[classes]; `words` [P, H], and the logits of these phrases with tokens [P, L] and cells [P, 16].

`--encoder FILE` writes the published encoder instead, with an `input` [3, 384, 384] and its maps, for `--full` tests.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from .config import bundle_config
from .encoder import Encoder, EncoderConfig, Stage, pretrained_encoder
from .export import encoder_tensors
from .stage1 import PhraseEncoder
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
PHRASE = {"input": 20, "hidden": 28, "width": 12}
SCALE = [1.5, 0.5]  # logarithms
LABELS = {"names": ["person", "dog", "sky"], "objects": 2, "colors": [], "unsure": 0.0,
          "classes": ["fish", "fish", "bird", "", "dog", "dog", "dog", "cat", "car", "car"]}  # fmt: skip


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
    weights, answers = (part | more for part, more in zip((weights, answers), phrase_tensors(tokens, normal[0])))
    names = shaken(nn.Linear(ENCODER.head, len(LABELS["names"]) + 1))
    weights |= {f"names.{name}": value for name, value in names.state_dict().items()}
    return {name: value.contiguous() for name, value in (weights | answers).items()}


def phrase_tensors(tokens: torch.Tensor, cells: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    """Weights of the phrase encoder, and how three phrases meet tokens [L, D] and cells [N, W]."""
    phrase = shaken(PhraseEncoder(PHRASE["input"], PHRASE["hidden"], PHRASE["width"]))
    of_token = shaken(nn.Linear(tokens.shape[1], PHRASE["width"]))
    of_cell = shaken(nn.Linear(cells.shape[1], PHRASE["width"]))
    weights = {f"phrase.{name}": value for name, value in phrase.state_dict().items()}
    weights |= {f"phrase.of_token.{name}": value for name, value in of_token.state_dict().items()}
    weights |= {f"phrase.of_cell.{name}": value for name, value in of_cell.state_dict().items()}
    weights["phrase.scale"] = torch.tensor(SCALE)
    words = torch.randn(3, PHRASE["input"])
    directions = phrase(words)

    def logits(seen: torch.Tensor, scale: float) -> torch.Tensor:
        return directions @ F.normalize(seen, dim=-1).T * torch.tensor(scale).exp()

    answers = {"words": words, "token_logits": logits(of_token(tokens), SCALE[0])}
    return [weights, answers | {"cell_logits": logits(of_cell(cells), SCALE[1])}]


@torch.no_grad()
def real_tensors() -> dict[str, torch.Tensor]:
    """The published encoder and what it sees in a picture of soft noise."""
    torch.manual_seed(12)
    encoder = pretrained_encoder()
    image = F.interpolate(torch.rand(1, 3, 24, 24) * 2 - 1, (384, 384), mode="bicubic").clamp(-1, 1)
    levels = encoder(image)
    head = encoder.head_map(levels[2])
    maps = dict(zip(("stride8", "stride16", "stride32", "head"), (level[0] for level in (*levels, head)), strict=True))
    return encoder_tensors() | maps | {"input": image[0], "logits": encoder.classify(head)[0]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("tests/fixtures"))
    parser.add_argument("--encoder", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.encoder:
        save_file({name: value.contiguous() for name, value in real_tensors().items()}, arguments.encoder)
        sys.exit()
    out = arguments.out
    save_file(tiny_tensors(), out / "photo_tiny.safetensors")
    config = bundle_config("photo-tiny", IMAGE_SIZE, ENCODER, TOKENIZER, THRESHOLD, PHRASE)
    config |= {"labels": LABELS}
    (out / "photo_tiny.json").write_text(json.dumps(config, indent=2) + "\n")
