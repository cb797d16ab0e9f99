"""From the hidden state of [SEG] to a mask at stride 8, and what weak and strong labels say about it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 64


class MaskHead(nn.Module):
    """Features at stride 16 say what is where, the encoder's map at stride 8 where it ends."""

    def __init__(self, hidden: int, width: int, channels8: int, eps: float):
        super().__init__()
        self.query_fc1 = nn.Linear(hidden, hidden)
        self.query_fc2 = nn.Linear(hidden, WIDTH)
        self.from_features = nn.Linear(width, WIDTH)
        self.norm8 = nn.LayerNorm(channels8, eps=eps)
        self.from_stride8 = nn.Linear(channels8, WIDTH)
        self.mix = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)

    def places(self, features: Tensor, stride8: Tensor) -> Tensor:
        """features [B, N, W], stride8 [B, 2G, 2G, C] -> [B, 64, 2G, 2G], once a photo."""
        side = stride8.shape[1] // 2
        x = self.from_features(features).unflatten(1, (side, side))
        x = x.repeat_interleave(2, 1).repeat_interleave(2, 2)
        x = F.gelu(x + self.from_stride8(self.norm8(stride8)))
        return self.mix(x.permute(0, 3, 1, 2))

    def forward(self, hidden: Tensor, places: Tensor) -> Tensor:
        """hidden [M, H], places [M, 64, 2G, 2G] -> logits [M, 2G, 2G]."""
        query = self.query_fc2(F.gelu(self.query_fc1(hidden)))
        return (query[:, :, None, None] * places).sum(1) / WIDTH**0.5


def box_loss(logits: Tensor, inside: Tensor) -> Tensor:
    """A box as a weak label, [M, h, w]: nothing outside of it, and in every row and column that it covers something."""
    probability = logits.sigmoid()
    outside = F.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits), reduction="none")
    outside = (outside * ~inside).sum((1, 2)) / (~inside).sum((1, 2)).clamp(min=1)
    shadows = [dice_loss(probability.amax(axis), inside.float().amax(axis)) for axis in (1, 2)]
    area = probability.flatten(1).sum(1) / inside.flatten(1).sum(1).clamp(min=1)
    thin = F.relu(0.35 - area)  # things fill a third of their box and more
    return (outside + sum(shadows) + thin).mean()


def mask_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """A mask as a strong label, [M, h, w]."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, mask.float(), reduction="none").mean((1, 2))
    return (cross_entropy + dice_loss(logits.sigmoid().flatten(1), mask.float().flatten(1))).mean()


def dice_loss(probability: Tensor, target: Tensor) -> Tensor:
    """[M, n] -> [M]"""
    common = (probability * target).sum(1)
    return 1 - (2 * common + 1) / (probability.square().sum(1) + target.square().sum(1) + 1)
