"""Stage 1: the tokenizer (encoder, merger) and the detokenizer learn together from scenes with known regions."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from .easy_vqa import easy_batch, sample
from .evaluate import evaluate_scenes
from .losses import (
    edge_loss,
    feature_loss,
    layout_loss,
    naming_loss,
    of_region,
    pixel_loss,
    pull_push_loss,
    token_regions,
)
from .model import SeTok
from .model.cluster import cluster_features, normalize_features
from .parallel import Workers
from .precision import mixed_precision
from .runs import Run, RunSettings
from .scenes import MAX_REGIONS, SceneBatch, joined, sample_batch


@dataclass(frozen=True)
class Stage1Settings(RunSettings):
    decoded: float = 1.0  # share of a batch that is decoded: early on clusters want images more than pixels do
    true_clusters: float = 0.3  # first part of the run with true regions only; half and half afterwards
    perceived: float = 0.5  # share of a batch whose drawings the encoder looks at again
    easy_vqa: float = 1 / 16  # share of a batch that is not of scenes
    object_weight: float = 4.0  # of a pixel of an object against one of the background
    token_noise: float = 0.15  # standard deviation, on the tokens the decoder sees
    evaluate_scenes: int = 128


def stage1_losses(
    model: SeTok, batch: SceneBatch, settings: Stage1Settings, true_share: float, device: torch.device
) -> tuple[dict[str, Tensor], float]:
    """All loss terms of a batch, and the mean number of clusters that DPC made (nan without DPC)."""
    config = model.config
    image = images_to_tensor(batch.images, device)
    region, purity, names, colors = (
        torch.from_numpy(a).to(device) for a in (batch.patch_regions, batch.purity, batch.names, batch.colors)
    )
    with mixed_precision(device):
        features = model.encode(image)
    features = features.float()
    pull, push = pull_push_loss(features, region, purity, MAX_REGIONS)

    labels, valid = region, _present_regions(region, config.cluster.max_clusters)
    token_count = math.nan
    if true_share < 1:
        clusters = cluster_features(features.detach(), config.vision.grid, config.cluster, exact=False)
        token_count = clusters.valid.sum(1).float().mean().item()
        use_true = torch.rand(len(image), device=device) < true_share
        labels = torch.where(use_true[:, None], labels, clusters.labels)
        valid = torch.where(use_true[:, None], valid, clusters.valid)

    with mixed_precision(device):
        tokens = model.merge(features, labels, valid)
    tokens = tokens.float()
    token_region = token_regions(labels, valid, region)
    name_logits, color_logits = model.heads(tokens)

    shown = slice(0, max(1, round(settings.decoded * len(image))))
    seen = tokens[shown] + settings.token_noise * torch.randn_like(tokens[shown])
    with mixed_precision(device):
        reconstruction = model.detok(seen, valid[shown])
        attention = model.detok.layout(seen, valid[shown])
    reconstruction, target = reconstruction.float(), image[shown]
    objects = torch.from_numpy(batch.object_counts).to(device)[shown, None, None]
    is_object = torch.from_numpy(batch.regions).to(device)[shown] < objects
    losses = {
        "pixel": pixel_loss(reconstruction, target, is_object, settings.object_weight),
        "edge": edge_loss(reconstruction, target),
        "name": naming_loss(name_logits, of_region(names, token_region)),
        "color": naming_loss(color_logits, of_region(colors, token_region)),
        "layout": layout_loss(attention, labels[shown]),
        "pull": pull,
        "push": push,
    }
    if looked := round(settings.perceived * len(reconstruction)):
        seen = look_again(model, reconstruction[:looked])
        losses["features"] = feature_loss(seen, features[:looked].detach(), region[:looked])
    return losses, token_count


def look_again(model: SeTok, images: Tensor) -> Tensor:
    """Features of drawn pictures: the drawing learns from them, the encoder does not."""
    fixed = {name: p.detach() for name, p in model.vision.named_parameters()}
    with mixed_precision(images.device):
        features = functional_call(model.vision, fixed, images)
    return normalize_features(features.float(), model.config.cluster)


def images_to_tensor(images, device: torch.device) -> Tensor:
    """[B, S, S, 3] uint8 -> [B, 3, S, S] in [-1, 1]."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def _present_regions(region: Tensor, clusters: int) -> Tensor:
    """[B, K] bool: the regions that own at least one patch."""
    return torch.zeros(len(region), clusters, device=region.device).scatter_(1, region, 1.0).bool()


class Stage1(Run):
    loss_weights = {"pixel": 2.0, "edge": 0.5, "name": 0.5, "color": 0.25, "layout": 0.1}
    loss_weights |= {"pull": 2.0, "push": 2.0, "features": 0.3}

    def __init__(self, model: SeTok, settings: Stage1Settings, workers: Workers, folder: Path):
        super().__init__(model, model.config_json(), settings, workers, folder)

    def losses(self, first: int, count: int) -> tuple[dict[str, Tensor], dict[str, float]]:
        easy = round(self.settings.easy_vqa * count)
        batch = sample_batch("train", first, count - easy)
        if easy:
            rng = np.random.default_rng(first)
            batch = joined(batch, easy_batch("train", [sample(rng, "train") for _ in range(easy)]))
        true_share = 1.0 if self.progress < self.settings.true_clusters else 0.5
        losses, token_count = stage1_losses(self.model, batch, self.settings, true_share, self.workers.device)
        return losses, {"dpc_tokens": token_count}

    def evaluate_average(self) -> dict[str, float]:
        return evaluate_scenes(self.average, "val", self.settings.evaluate_scenes)
