"""Stage 4: the detokenizer learns on, alone: everything that it renders from is what it will be.

Its base learns backgrounds as they are without things, its layers the things. These learn faster than images can be
tokenised, so each step takes its tokens from a buffer of recent ones.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..model import SeTok
from ..model.config import CONFIGS
from ..model.detokenizer import TokenLayers
from ..model.setokim import Setokim
from .distributed import Workers
from .losses import layer_losses, objects_of_tokens
from .metrics import evaluate_scenes
from .runs import Run, RunSettings
from .sampler import EncodedImages, encode_images
from .stage1 import SceneLoader, base_losses


@dataclass(frozen=True)
class Stage4Settings(RunSettings):
    batch: int = 16  # images whose background is rendered
    learning_rate: float = 1.5e-3
    last_learning_rate: float = 5e-5
    warmup_steps: int = 50
    ema_decay: float = 0.998
    layers: int = 32  # tokens for each picture of a batch that a layer is made of
    buffer_size: int = 100_000  # tokens
    easy_vqa: float = 1 / 16  # share of a batch that is not of scenes
    token_noise: float = 0.4  # most of it, in deviations of a token: what the diffusion head denoises is not exact
    evaluate_scenes: int = 128


@dataclass
class TokenBuffer:
    """Tokens [T, D] as the projector normalises them, and the object that each shows [T, 5] as in `Layouts`, -1 for
    none: shapes of easy-VQA are left to the base."""

    tokens: Tensor
    objects: Tensor

    def add(self, encoded: EncodedImages, objects: Tensor, most: int) -> None:
        """objects [M, R, 5] of the pictures."""
        shown = objects_of_tokens(objects, encoded.token_regions)
        self.tokens = torch.cat([self.tokens, encoded.real_tokens])[-most:]
        self.objects = torch.cat([self.objects, shown[encoded.valid]])[-most:]


def add_layers(model: Setokim) -> None:
    """To the detokenizer of a model that was trained before there were any."""
    size = CONFIGS["nano"].detokenizer.layer_size
    config = dataclasses.replace(model.tokenizer_config.detokenizer, layer_size=size)
    model.tokenizer_config = dataclasses.replace(model.tokenizer_config, detokenizer=config)
    model.detok.layers = TokenLayers(config, model.tokenizer_config.merger.token_width)


class Stage4(Run):
    """`model` is a Setokim of which only the detokenizer wants gradients."""

    loss_weights = {"layers": 10.0, "boxes": 5.0, "pixel": 2.0, "edge": 0.5, "layout": 0.05}

    def __init__(self, model: Setokim, settings: Stage4Settings, workers: Workers, folder: Path):
        torch.manual_seed(settings.seed)
        if not model.detok.layers:
            add_layers(model)
        model.requires_grad_(False)
        self.learning(model).requires_grad_(True)
        super().__init__(nn.ModuleDict({"setokim": model}), model.config_json(), settings, workers, folder)
        empty = torch.empty(0, len(model.projector.mean), device=workers.device)
        self.buffer = TokenBuffer(empty, torch.empty(0, 5, dtype=torch.long, device=workers.device))
        self.loader = SceneLoader(settings.easy_vqa, settings.batch, workers)

    @staticmethod
    def learning(model: Setokim) -> nn.Module:
        """The part that learns."""
        return model.detok

    def losses(self, first: int, count: int) -> tuple[dict[str, Tensor], dict[str, float]]:
        model, settings = self.model["setokim"], self.settings
        labeled = self.loader.batch(first, count)
        encoded = encode_images(model, labeled.rendered)
        self.buffer.add(encoded, labeled.objects, settings.buffer_size)
        chosen = torch.randint(len(self.buffer.tokens), (settings.layers * count,), device=labeled.objects.device)
        tokens = self.blurred(self.buffer.tokens[chosen])
        losses = layer_losses(model.detok.layers, tokens, self.buffer.objects[chosen])
        tokens = self.blurred(encoded.tokens)
        return losses | base_losses(model.detok, labeled, tokens, encoded.valid, encoded.labels), {}

    def blurred(self, tokens: Tensor) -> Tensor:
        """As they are before the projector, with noise of any strength up to the most."""
        share = torch.rand(*tokens.shape[:1], *(1,) * (tokens.ndim - 1)).square()  # most are nearly exact
        strength = self.settings.token_noise * share
        noisy = tokens + strength.to(tokens.device) * torch.randn_like(tokens)
        return self.model["setokim"].projector.denormalize(noisy)

    def evaluate_average(self) -> dict[str, float]:
        model = self.average["setokim"]
        tokenizer = SeTok(model.tokenizer_config)
        for part in ("vision", "setok", "detok", "heads"):
            setattr(tokenizer, part, getattr(model, part))
        return evaluate_scenes(tokenizer.eval(), "val", self.settings.evaluate_scenes)
