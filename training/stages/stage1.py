"""Stage 1: the tokenizer (encoder, merger) and the detokenizer learn together from scenes with known regions."""

import math
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from ..data import easy_vqa
from ..data.renderer import Layouts, RenderedImages, Renderer, to_device
from ..data.scenes import MAX_REGIONS, region_labels, sample_scene
from ..model import SeTok
from ..model.cluster import cluster_features, normalize_features
from ..model.detokenizer import Detokenizer
from .distributed import Workers
from .losses import (
    edge_loss,
    feature_loss,
    layer_losses,
    layout_loss,
    naming_loss,
    objects_of_tokens,
    of_region,
    pixel_loss,
    pull_push_loss,
    token_regions,
)
from .metrics import evaluate_scenes
from .precision import mixed_precision
from .prefetch import Prefetcher
from .runs import Run, RunSettings


@dataclass(frozen=True)
class Stage1Settings(RunSettings):
    true_clusters: float = 0.3  # first part of the run with true regions only; half and half afterwards
    perceived: float = 0.25  # share of a batch whose reconstructions are compared as a whole, by the encoder too
    easy_vqa: float = 1 / 16  # share of a batch that is not of scenes
    object_weight: float = 4.0  # of a pixel of an object against one of the background
    token_noise: float = 0.3  # most of it: standard deviation of noise on the tokens of an image that is reconstructed
    evaluate_scenes: int = 128


@dataclass
class LabeledImages:
    """Pictures with what they show: names and colours of regions [M, R], and objects [M, R, 5] as in `Layouts`."""

    rendered: RenderedImages
    empty: Tensor  # [M, 3, S, S] the pictures without their objects, in [-1, 1]
    names: Tensor
    colors: Tensor
    objects: Tensor

    @property
    def is_object(self) -> Tensor:
        """[M, S, S] bool."""
        objects = (self.objects[:, :, 0] >= 0).sum(1)
        is_scene = objects > 0  # the shape of a picture of easy-VQA is its first region
        return self.rendered.regions < torch.where(is_scene, objects, 1)[:, None, None]


class SceneLoader:
    """The batches `first`, `first + stride`, ... of the train split, with scenes made up ahead."""

    def __init__(self, easy_share: float, stride: int, workers: Workers):
        self.easy_share, self.stride = easy_share, stride
        self.renderer, self.prefetcher = Renderer.on(workers.device), Prefetcher(workers.loaders)
        self.waiting: dict[int, Future] = {}

    def batch(self, first: int, count: int) -> LabeledImages:
        for begin in range(first, first + self.prefetcher.depth * self.stride, self.stride):
            if begin not in self.waiting:
                easy = round(self.easy_share * count)
                work = sample_layouts, begin, count - easy, easy
                self.waiting[begin] = self.prefetcher.submit(begin // self.stride, *work)
        layouts, labels = self.waiting.pop(first).result()
        names, colors, objects = (to_device(a, self.renderer.device) for a in labels)
        return LabeledImages(
            self.renderer.render(layouts), self.renderer.render(layouts.empty).normalized, names, colors, objects
        )


def sample_layouts(first: int, count: int, easy: int) -> tuple[Layouts, tuple[np.ndarray, ...]]:
    """`count` scenes and behind them `easy` pictures of easy-VQA: layouts, names, colours, objects."""
    rng = np.random.default_rng(first)
    scenes = [sample_scene("train", index) for index in range(first, first + count)]
    easy_images = [easy_vqa.sample(rng, "train") for _ in range(easy)]
    layouts = Layouts.of(scenes, easy_images)
    names, colors = map(np.concatenate, zip(region_labels(scenes), easy_vqa.region_labels("train", easy_images)))
    objects = np.concatenate([layouts.objects, np.full((easy, MAX_REGIONS, 5), -1)])
    return layouts, (names, colors, objects)


def stage1_losses(
    model: SeTok, labeled: LabeledImages, settings: Stage1Settings, true_share: float
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All loss terms of a batch, and the mean number of clusters that DPC made (none without DPC)."""
    config, image, region = model.config, labeled.rendered.normalized, labeled.rendered.patch_regions
    device = image.device
    with mixed_precision(device):
        features = model.encode(image)
    features = features.float()
    pull, push = pull_push_loss(features, region, labeled.rendered.purity, MAX_REGIONS)

    labels, valid = region, _present_regions(region, config.cluster.max_clusters)
    token_count = {"dpc_tokens": math.nan}
    if true_share < 1:
        clusters = cluster_features(features.detach(), config.vision.grid, config.cluster, exact=False)
        token_count = {"dpc_tokens": clusters.valid.sum(1).float().mean()}
        use_true = torch.rand(len(image), device=device) < true_share
        labels = torch.where(use_true[:, None], labels, clusters.labels)
        valid = torch.where(use_true[:, None], valid, clusters.valid)

    with mixed_precision(device):
        tokens = model.merge(features, labels, valid)
    tokens = tokens.float()
    token_region = token_regions(labels, valid, region)
    name_logits, color_logits = model.heads(tokens)
    losses = {
        "name": naming_loss(name_logits, of_region(labeled.names, token_region)),
        "color": naming_loss(color_logits, of_region(labeled.colors, token_region)),
        "pull": pull,
        "push": push,
    }
    strength = settings.token_noise * torch.rand(len(tokens), 1, 1, device=device)
    noisy = tokens + strength * torch.randn_like(tokens)
    losses |= base_losses(model.detok, labeled, noisy, valid, labels, settings.object_weight)
    if model.detok.layers:
        objects = objects_of_tokens(labeled.objects, token_region)
        losses |= layer_losses(model.detok.layers, noisy[valid], objects[valid])
    if perceived_count := round(settings.perceived * len(image)):
        # The reconstruction as a whole, as pixels and as the encoder sees it.
        with mixed_precision(device):
            reconstruction = model.detok(noisy[:perceived_count], valid[:perceived_count]).float()
        is_object = labeled.is_object[:perceived_count]
        losses["whole"] = pixel_loss(reconstruction, image[:perceived_count], is_object, settings.object_weight)
        again = encode_again(model, reconstruction)
        losses["features"] = feature_loss(again, features[:perceived_count].detach(), region[:perceived_count])
    return losses, token_count


def base_losses(
    detok: Detokenizer,
    labeled: LabeledImages,
    tokens: Tensor,
    valid: Tensor,
    labels: Tensor,
    object_weight: float = 1.0,
) -> dict[str, Tensor]:
    """From tokens [M, K, D]. With layers on top of it the base is what lies behind the objects."""
    with mixed_precision(tokens.device):
        base = detok.render_base(tokens, valid).float()
        attention = detok.layout(tokens, valid).float()
    target = labeled.empty if detok.layers else labeled.rendered.normalized
    is_object = torch.zeros_like(labeled.is_object) if detok.layers else labeled.is_object
    return {
        "pixel": pixel_loss(base, target, is_object, object_weight),
        "edge": edge_loss(base, target),
        "layout": layout_loss(attention, labels),
    }


def encode_again(model: SeTok, images: Tensor) -> Tensor:
    """Features of reconstructions: the detokenizer learns from them, the encoder does not."""
    fixed = {name: p.detach() for name, p in model.vision.named_parameters()}
    with mixed_precision(images.device):
        features = functional_call(model.vision, fixed, images)
    return normalize_features(features.float(), model.config.cluster)


def _present_regions(region: Tensor, clusters: int) -> Tensor:
    """[B, K] bool: the regions that own at least one patch."""
    return torch.zeros(len(region), clusters, device=region.device).scatter_(1, region, 1.0).bool()


class Stage1(Run):
    loss_weights = {"pixel": 2.0, "edge": 0.5, "name": 0.5, "color": 0.25, "layout": 0.1}
    loss_weights |= {"pull": 2.0, "push": 2.0, "features": 0.3, "layers": 10.0, "boxes": 5.0, "whole": 1.0}

    def __init__(self, model: SeTok, settings: Stage1Settings, workers: Workers, folder: Path):
        super().__init__(model, model.config_json(), settings, workers, folder)
        self.loader = SceneLoader(settings.easy_vqa, settings.batch, workers)

    def losses(self, first: int, count: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        true_share = 1.0 if self.progress < self.settings.true_clusters else 0.5
        return stage1_losses(self.model, self.loader.batch(first, count), self.settings, true_share)

    def evaluate_average(self) -> dict[str, float]:
        return evaluate_scenes(self.average, "val", self.settings.evaluate_scenes)
