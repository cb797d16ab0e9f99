"""Stage 4: the detokenizer learns on, alone: everything that it draws from is what it will be."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .evaluate import evaluate_scenes
from .losses import edge_loss, feature_loss, layout_loss, pixel_loss
from .model import SeTok
from .model.setokim import Setokim
from .parallel import Workers
from .runs import Run, RunSettings
from .scenes import sample_batch
from .tasks import Pictures, tokenize_batch


@dataclass(frozen=True)
class Stage4Settings(RunSettings):
    batch: int = 32
    learning_rate: float = 1.5e-3
    last_learning_rate: float = 5e-5
    warmup_steps: int = 50
    ema_decay: float = 0.998
    token_noise: float = 0.4  # most of it, in deviations of a token: what the diffusion head draws is not exact
    object_weight: float = 5.0  # of a pixel: backgrounds are learned by now
    evaluate_scenes: int = 128


def stage4_losses(model: Setokim, pictures: Pictures, settings: Stage4Settings) -> dict[str, Tensor]:
    target, scenes = pictures.images, pictures.batch
    count = torch.tensor(pictures.counts, device=target.device)
    valid = torch.arange(pictures.tokens.shape[1], device=target.device) < count[:, None]
    noise_scale = settings.token_noise * torch.rand(len(target), 1, 1, device=target.device)
    noise = noise_scale * torch.randn_like(pictures.tokens)
    tokens = model.projector.denormalize(pictures.tokens + noise)
    with torch.autocast(target.device.type, torch.bfloat16):
        image = model.detok(tokens, valid)
        attention = model.detok.layout(tokens, valid)
        seen = F.layer_norm(model.vision(image), pictures.features.shape[-1:])
    image = image.float()
    region = torch.from_numpy(scenes.patch_regions).to(target.device)
    is_object = torch.from_numpy(scenes.regions < scenes.object_counts[:, None, None]).to(target.device)
    return {
        "pixel": pixel_loss(image, target, is_object, settings.object_weight),
        "edge": edge_loss(image, target),
        "layout": layout_loss(attention.float(), pictures.labels),
        "features": feature_loss(seen.float(), pictures.features, region),
    }


class Stage4(Run):
    """`model` is a Setokim of which only the detokenizer wants gradients."""

    loss_weights = {"pixel": 2.0, "edge": 0.5, "layout": 0.05, "features": 0.3}

    def __init__(self, model: Setokim, settings: Stage4Settings, workers: Workers, folder: Path):
        torch.manual_seed(settings.seed)
        model.requires_grad_(False)
        model.detok.requires_grad_(True)
        super().__init__(nn.ModuleDict({"setokim": model}), model.config_json(), settings, workers, folder)

    def losses(self, first: int, count: int) -> tuple[dict[str, Tensor], dict[str, float]]:
        model = self.model["setokim"]
        pictures = tokenize_batch(model, sample_batch("train", first, count))
        return stage4_losses(model, pictures, self.settings), {}

    def evaluate_average(self) -> dict[str, float]:
        model = self.average["setokim"]
        tokenizer = SeTok(model.tokenizer_config)
        for part in ("vision", "setok", "detok", "heads"):
            setattr(tokenizer, part, getattr(model, part))
        return evaluate_scenes(tokenizer.eval(), "val", self.settings.evaluate_scenes)
