"""Losses of the tokenizer and the detokenizer. All take float32 and return scalars."""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.scenes import IMAGE_SIZE
from ..data.sprites import SPRITES, resized_sprite
from ..model.detokenizer import TokenLayers

OBJECT_WEIGHT = 2.5  # a pixel of an object against one of the background
PULL_MARGIN = 0.1  # DPC distance to its region's mean that a patch may keep
PUSH_MARGIN = 1.1  # DPC distance that two region means must keep; the cluster threshold lies between the two
FEATURE_MARGIN = 0.02  # mean square by patch at which two pictures look the same to the encoder
PURE = 0.6  # patches with less of one region than this do not shape its mean


def pixel_loss(image: Tensor, target: Tensor, is_object: Tensor, object_weight: float = OBJECT_WEIGHT) -> Tensor:
    """L1 / 2 + L2 with objects counting more. Images [B, 3, S, S], `is_object` [B, S, S] bool."""
    error = image - target
    weight = 1 + (object_weight - 1) * is_object[:, None].float()
    return (weight * (0.5 * error.abs() + error.square())).mean()


def edge_loss(image: Tensor, target: Tensor) -> Tensor:
    """L1 between differences of neighbouring pixels: L2 alone is content with blurred rims."""
    error = image - target
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """How little of n masks [n, ..] and what is marked lies in both, large and small masks alike."""
    found, true = logits.sigmoid().flatten(1), mask.flatten(1)
    return (1 - (2 * (found * true).sum(1) + 1) / (found.sum(1) + true.sum(1) + 1)).mean()


def feature_loss(seen: Tensor, features: Tensor, region: Tensor) -> Tensor:
    """The perceptual term of the paper, by our own encoder: every region counts the same, however small.

    Normalised features of the rendered and of the true image [B, N, C], region of each patch [B, N].
    """
    error = F.relu((seen - features).square().mean(-1) - FEATURE_MARGIN)  # [B, N]
    patches = F.one_hot(region).sum(1).to(error.dtype)  # [B, R]
    weight = 1 / of_region(patches, region)
    return (error * weight).sum() / weight.sum()


def pull_push_loss(features: Tensor, region: Tensor, purity: Tensor, regions: int) -> tuple[Tensor, Tensor]:
    """Patches near the mean of their region, means of different regions apart.

    In the unit in which the clustering measures (distance / sqrt(C)). Without it the clusters follow colours,
    not things: object mIoU .19 instead of .46 after the same number of steps.

    features [B, N, C], region [B, N] < `regions`, purity [B, N].
    """
    x = features / features.shape[-1] ** 0.5
    member = F.one_hot(region, regions).to(x.dtype)  # [B, N, R]
    pure = member * (purity > PURE)[..., None]
    # A region without a pure patch has its mean over all its patches.
    pure = torch.where(pure.sum(1, keepdim=True) > 0, pure, member)
    count = pure.sum(1)
    mean = pure.transpose(1, 2) @ x / count.clamp(min=1)[..., None]  # [B, R, C]

    own_mean = member @ mean
    distance = _length(x - own_mean)
    pull = (F.relu(distance - PULL_MARGIN).square() * purity).sum() / purity.sum()

    present = count > 0
    pairs = present[:, :, None] & present[:, None, :] & ~torch.eye(regions, dtype=torch.bool, device=x.device)
    between = _length(mean[:, :, None] - mean[:, None, :])
    push = (F.relu(PUSH_MARGIN - between).square() * pairs).sum() / pairs.sum().clamp(min=1)
    return pull, push


def _length(x: Tensor) -> Tensor:
    """Euclidean norm over the last dim with a finite gradient at 0."""
    return x.square().sum(-1).add(1e-6).sqrt()


def layout_loss(attention: Tensor, labels: Tensor) -> Tensor:
    """The decoder's first look from patch n should fall on the token that covers n. [B, N, K], [B, N]."""
    return -attention.gather(2, labels[..., None]).clamp(min=1e-4).log().mean()


def token_regions(labels: Tensor, valid: Tensor, region: Tensor) -> Tensor:
    """The region that most patches of each token belong to, [B, K]; -1 for tokens without patches."""
    overlap = F.one_hot(labels, valid.shape[1]).float().transpose(1, 2) @ F.one_hot(region).float()  # [B, K, R]
    return torch.where(valid & (overlap.sum(-1) > 0), overlap.argmax(-1), -1)


def of_region(attribute: Tensor, token_region: Tensor) -> Tensor:
    """What `attribute` [B, R] says of the region of each token, [B, K]; -1 where there is none."""
    return torch.where(token_region >= 0, attribute.gather(1, token_region.clamp(min=0)), -1)


def objects_of_tokens(objects: Tensor, token_region: Tensor) -> Tensor:
    """The object that each token shows [B, K, 5], of `objects` [B, R, 5] as in `Layouts`; -1 where there is none."""
    chosen = objects.gather(1, token_region.clamp(min=0)[..., None].expand(-1, -1, objects.shape[-1]))
    return torch.where((token_region >= 0)[..., None], chosen, -1)


def naming_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Contrast of each token with all concept names (or colours); target -1 is ignored. [B, K, names], [B, K]."""
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-1)


def layer_losses(layers: TokenLayers, tokens: Tensor, objects: Tensor) -> dict[str, Tensor]:
    """How far the pictures and places of tokens [T, D] are from the objects that they show.

    objects [T, 5] as in `Layouts`, -1 for what is none: only what is there has a colour and a place.
    """
    images, boxes = layers(tokens)
    sprite, flipped = objects[:, 0], objects[:, 4]
    is_thing = (sprite >= 0)[:, None]
    true = sprite_layers(layers.size, tokens.device)[sprite.clamp(min=0)]
    true = torch.where((flipped == 1)[:, None, None, None], true.flip(-1), true) * is_thing[..., None, None]
    # A colour counts as much as there is of it, in the truth as in the layer.
    error = torch.cat([images[:, :3] * images[:, 3:], images[:, 3:]], 1) - true
    return {"layers": (0.5 * error.abs() + error.square()).mean(), "boxes": place_loss(boxes, objects)}


def place_loss(boxes: Tensor, objects: Tensor) -> Tensor:
    """How far boxes [T, 3] are from where the objects [T, 5] lie, as shares of the image."""
    sprite, x, y, size, _ = objects.unbind(1)
    place = torch.stack([x + size / 2, y + size / 2, size], 1) / IMAGE_SIZE
    is_thing = (sprite >= 0)[:, None]
    return ((boxes - place).abs() * is_thing).sum() / (3 * is_thing.sum().clamp(min=1))


@cache
def sprite_layers(size: int, device: torch.device) -> Tensor:
    """What a layer of each sprite should be [sprites, 4, size, size]: colour in [-1, 1] times opacity, and opacity."""
    layers = []
    for sprite in range(len(SPRITES.rgba)):
        color, transparency = resized_sprite(sprite, size)
        opacity = 1 - transparency
        layers.append(np.concatenate([color / 127.5 - opacity, opacity], -1).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(layers)).to(device)
