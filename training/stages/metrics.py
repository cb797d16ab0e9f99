"""Metrics of the tokenizer and detokenizer on held-out scenes."""

import math

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from ..data.scenes import MAX_REGIONS, SceneBatch, sample_batch
from ..model import SeTok
from .losses import of_region, token_regions

BATCH = 50


@torch.no_grad()
def evaluate_scenes(model: SeTok, split: str, count: int) -> dict[str, float]:
    """Means over `count` scenes of a split; every scene (for IoU and names: every region) counts once."""
    values: dict[str, list[float]] = {}
    for first in range(0, count, BATCH):
        batch = sample_batch(split, first, min(BATCH, count - first))
        for name, numbers in _batch_metrics(model, batch).items():
            values.setdefault(name, []).extend(numbers)
    return {name: float(np.mean(numbers)) if numbers else math.nan for name, numbers in values.items()}


def images_to_tensor(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """[B, S, S, 3] uint8 -> [B, 3, S, S] in [-1, 1]."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def _batch_metrics(model: SeTok, batch: SceneBatch) -> dict[str, list[float]]:
    device = model.heads.name.weight.device
    image = images_to_tensor(batch.images, device)
    found = model.tokenize(image)
    clusters, labels = found.clusters, found.clusters.labels.cpu().numpy()
    decoded = model.detok(found.tokens, clusters.valid).clamp(-1, 1)
    region, names, colors = (torch.from_numpy(a).to(device) for a in (batch.patch_regions, batch.names, batch.colors))
    token_region = token_regions(clusters.labels, clusters.valid, region)
    token_names, token_colors = of_region(names, token_region), of_region(colors, token_region)
    name_logits, color_logits = model.heads(found.tokens)

    objects = model.config.labels.objects
    is_object = (token_names >= 0) & (token_names < objects)
    is_colored = is_object & (token_colors < len(model.config.labels.colors) - 1)
    tokens = clusters.valid.sum(1).cpu().numpy()
    regions = np.array([len(np.unique(row)) for row in batch.patch_regions])
    metrics: dict[str, list[float]] = {
        "psnr": psnr(decoded, image),
        "ssim": _ssim(decoded, image),
        "tokens": tokens.tolist(),
        "regions": regions.tolist(),
        "tokens_exact": (tokens == regions).tolist(),
        "tokens_off_by": np.abs(tokens - regions).tolist(),
        "object_names": (name_logits.argmax(-1) == token_names)[is_object].tolist(),
        "object_colors": (color_logits.argmax(-1) == token_colors)[is_colored].tolist(),
        "object_iou": [],
        "region_iou": [],
    }
    for b, label in enumerate(labels):
        ious = region_ious(batch.patch_regions[b], label)
        metrics["region_iou"].extend(ious.values())
        metrics["object_iou"].extend(iou for r, iou in ious.items() if r < batch.object_counts[b])
    metrics["object_names_from_reconstruction"] = _rename(model, decoded, batch)
    return metrics


def region_ious(regions: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    """For each true region, by patch, the IoU with the cluster that fits it best."""
    overlap = np.zeros((MAX_REGIONS, labels.max() + 1))
    np.add.at(overlap, (regions, labels), 1)
    union = overlap.sum(1, keepdims=True) + overlap.sum(0, keepdims=True) - overlap
    best = (overlap / union.clip(min=1)).max(1)
    return {int(r): float(best[r]) for r in np.unique(regions)}


def psnr(image: torch.Tensor, target: torch.Tensor) -> list[float]:
    """Of each image, in dB, for a range of [-1, 1]."""
    error = ((image - target) / 2).square().mean((1, 2, 3))
    return (-10 * error.log10()).tolist()


def _ssim(image: torch.Tensor, target: torch.Tensor) -> list[float]:
    pairs = zip(image.cpu().numpy(), target.cpu().numpy(), strict=True)
    return [float(structural_similarity(a, b, channel_axis=0, data_range=2)) for a, b in pairs]


def _rename(model: SeTok, decoded: torch.Tensor, batch: SceneBatch) -> list[float]:
    """The judge of generated pictures: tokenise a reconstruction by its true regions and name the objects.

    `object_names` is the same judge on real pictures, the most this can reach.
    """
    region = torch.from_numpy(batch.patch_regions).to(decoded.device)
    valid = torch.zeros(len(region), MAX_REGIONS, device=decoded.device).scatter_(1, region, 1.0).bool()
    tokens = model.merge(model.encode(decoded), region, valid)
    names = model.heads.name(tokens).argmax(-1).cpu().numpy()
    return [
        float(names[b, r] == batch.names[b, r])
        for b, count in enumerate(batch.object_counts)
        for r in range(count)
        if valid[b, r]
    ]
