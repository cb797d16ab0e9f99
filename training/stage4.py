"""Stage 4: the detokenizer learns on, alone: everything that it draws from is what it will be.

Its painter learns backgrounds as they are without things, its layers the things. These learn faster than pictures can
be tokenised, so each step draws its tokens from a memory of recent ones.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .easy_vqa import easy_batch
from .easy_vqa import sample as sample_easy
from .evaluate import evaluate_scenes
from .losses import edge_loss, layout_loss, pixel_loss
from .model import SeTok
from .model.config import CONFIGS
from .model.detokenizer import TokenLayers
from .model.setokim import Setokim
from .parallel import Workers
from .precision import mixed_precision
from .runs import Run, RunSettings
from .scenes import IMAGE_SIZE, Scene, SceneObject, joined, render_scene, sample_batch
from .sprites import resized_sprite
from .stage1 import images_to_tensor
from .tasks import Pictures, tokenize_batch


@dataclass(frozen=True)
class Stage4Settings(RunSettings):
    batch: int = 16  # pictures whose background is painted
    learning_rate: float = 1.5e-3
    last_learning_rate: float = 5e-5
    warmup_steps: int = 50
    ema_decay: float = 0.998
    layers: int = 512  # tokens of a step that a layer is made of
    remembered: int = 100_000  # tokens
    easy_vqa: int = 1  # pictures of a batch that are not of scenes
    token_noise: float = 0.4  # most of it, in deviations of a token: what the diffusion head draws is not exact
    evaluate_scenes: int = 128


@dataclass
class Memory:
    """Tokens [M, D] as the projector normalises them, with what each shows: an object, or None for a background."""

    tokens: Tensor
    shown: list[SceneObject | None] = field(default_factory=list)

    def add(self, pictures: Pictures, most: int) -> None:
        new = []
        for m, count in enumerate(pictures.counts):
            for k in range(count):
                new.append(pictures.tokens[m, k])
                self.shown.append(pictures.shown(m, k))  # shapes of easy-VQA are left to the painter
        self.tokens = torch.cat([self.tokens, torch.stack(new)])[-most:]
        self.shown = self.shown[-most:]


def true_layer(o: SceneObject, size: int) -> np.ndarray:
    """The picture of an object [4, size, size]: premultiplied colour in [-1, 1], and opacity."""
    color, transparency = resized_sprite(o.sprite, size)
    opacity = 1 - transparency
    picture = np.concatenate([color / 127.5 - opacity, opacity], -1).transpose(2, 0, 1)
    return picture[..., ::-1] if o.flipped else picture


def layer_losses(layers: TokenLayers, tokens: Tensor, shown: list[SceneObject | None]) -> dict[str, Tensor]:
    """Tokens [M, D]. Only what is there has a colour and a place."""
    pictures, boxes = layers(tokens)
    target, place = np.zeros(pictures.shape, np.float32), np.zeros(boxes.shape, np.float32)
    for m, o in enumerate(shown):
        if o:
            target[m], place[m] = true_layer(o, layers.size), [v / IMAGE_SIZE for v in (*o.center, o.size)]
    target, place = (torch.from_numpy(a).to(tokens.device) for a in (target, place))
    is_thing = torch.tensor([o is not None for o in shown], device=tokens.device)[:, None]
    # A colour counts as much as there is of it, in the truth as in the layer.
    error = torch.cat([pictures[:, :3] * pictures[:, 3:], pictures[:, 3:]], 1) - target
    distance = (boxes - place).abs() * is_thing
    return {
        "layers": (0.5 * error.abs() + error.square()).mean(),
        "boxes": distance.sum() / (3 * is_thing.sum().clamp(min=1)),
    }


def painted_losses(model: Setokim, pictures: Pictures, tokens: Tensor) -> dict[str, Tensor]:
    """The painter's, from `tokens` [M, K, D]; those of scenes should show the background and nothing else."""
    scenes, device = pictures.batch.scenes, tokens.device
    target = pictures.images.clone()
    empty = np.stack([background(scene) for scene in scenes])
    target[: len(scenes)] = images_to_tensor(empty, device)
    count = torch.tensor(pictures.counts, device=device)
    valid = torch.arange(tokens.shape[1], device=device) < count[:, None]
    with mixed_precision(device):
        image = model.detok.paint(tokens, valid).float()
        attention = model.detok.layout(tokens, valid).float()
    is_object = torch.zeros(target[:, 0].shape, dtype=torch.bool, device=device)
    return {
        "pixel": pixel_loss(image, target, is_object),
        "edge": edge_loss(image, target),
        "layout": layout_loss(attention, pictures.labels),
    }


def background(scene: Scene) -> np.ndarray:
    return render_scene(dataclasses.replace(scene, objects=[]))[0]


def give_layers(model: Setokim) -> None:
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
            give_layers(model)
        model.requires_grad_(False)
        model.detok.requires_grad_(True)
        super().__init__(nn.ModuleDict({"setokim": model}), model.config_json(), settings, workers, folder)
        self.memory = Memory(torch.empty(0, len(model.projector.mean), device=workers.device))

    def losses(self, first: int, count: int) -> tuple[dict[str, Tensor], dict[str, float]]:
        model, settings = self.model["setokim"], self.settings
        rng = np.random.default_rng(first)
        easy = easy_batch("train", [sample_easy(rng, "train") for _ in range(settings.easy_vqa)])
        batch = joined(sample_batch("train", first, count - settings.easy_vqa), easy)
        pictures = tokenize_batch(model, batch)
        self.memory.add(pictures, settings.remembered)
        chosen = rng.integers(len(self.memory.shown), size=settings.layers).tolist()
        tokens = self.blurred(self.memory.tokens[chosen])
        losses = layer_losses(model.detok.layers, tokens, [self.memory.shown[i] for i in chosen])
        return losses | painted_losses(model, pictures, self.blurred(pictures.tokens)), {}

    def blurred(self, tokens: Tensor) -> Tensor:
        """As they are before the projector, with noise of any strength up to the most."""
        strength = self.settings.token_noise * torch.rand(*tokens.shape[:1], *(1,) * (tokens.ndim - 1))
        noisy = tokens + strength.to(tokens.device) * torch.randn_like(tokens)
        return self.model["setokim"].projector.denormalize(noisy)

    def evaluate_average(self) -> dict[str, float]:
        model = self.average["setokim"]
        tokenizer = SeTok(model.tokenizer_config)
        for part in ("vision", "setok", "detok", "heads"):
            setattr(tokenizer, part, getattr(model, part))
        return evaluate_scenes(tokenizer.eval(), "val", self.settings.evaluate_scenes)
