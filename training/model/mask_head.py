"""Mask head: the hidden state of a [SEG] token and the picture's features become a mask."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class MaskHeadConfig:
    width: int = 48


class MaskHead(nn.Module):
    """Patch features say *what* is where; the stem of the encoder, at strides 4 and 2, says where exactly it ends."""

    def __init__(self, config: MaskHeadConfig, hidden: int, vision_width: int, stem_channels: tuple[int, int]):
        super().__init__()
        width = config.width
        self.query_fc1 = nn.Linear(hidden, hidden)
        self.query_fc2 = nn.Linear(hidden, width)
        self.from_features = nn.Conv2d(vision_width, width, 1)
        self.from_stride4 = nn.Conv2d(stem_channels[1], width, 1)
        self.from_stride2 = nn.Conv2d(stem_channels[0], width, 1)
        self.mix = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, hidden: Tensor, features: Tensor, stride4: Tensor, stride2: Tensor) -> Tensor:
        """Mask logits [M, S / 2, S / 2].

        hidden [M, H]; features [M, N, C] (normalised); stride4 [M, c1, S / 4, S / 4] and stride2 [M, c0, S / 2, S / 2]
        are the outputs of the encoder's second and first stem stage, after their GELU.
        """
        query = self.query_fc2(F.gelu(self.query_fc1(hidden)))  # [M, width]
        rows = stride4.shape[-1] // 2
        x = self.from_features(features.transpose(1, 2).unflatten(-1, (rows, -1)))
        x = F.gelu(double(x) + self.from_stride4(stride4))
        x = F.gelu(double(x) + self.from_stride2(stride2))
        return (query[:, :, None, None] * self.mix(x)).sum(1) / query.shape[-1] ** 0.5


def double(x: Tensor) -> Tensor:
    """Nearest-neighbour upsampling by 2."""
    return x.repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)


def full_size(logits: Tensor, size: int) -> Tensor:
    """Mask logits [M, h, w] -> [M, size, size], bilinear between pixel centres; the mask is where they exceed 0."""
    return F.interpolate(logits[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
