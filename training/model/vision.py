"""Vision encoder: a ViT whose patches come from a stack of strided convolutions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import VisionConfig
from .layers import Block, sincos_positions


class VisionEncoder(nn.Module):
    """Image [B, 3, S, S] -> patch features [B, N, C], without a final norm (the clustering has its own)."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        channels = [3, *config.stem_channels, config.width]
        self.stem = nn.ModuleList(
            nn.Conv2d(c_in, c_out, 3, stride=2, padding=1) for c_in, c_out in zip(channels, channels[1:], strict=False)
        )
        self.stem_norm = nn.ModuleList(nn.GroupNorm(1, c, eps=config.norm_eps) for c in config.stem_channels)
        positions = sincos_positions(config.grid, config.width)
        self.pos = nn.Parameter(0.5 * positions + 0.02 * torch.randn_like(positions))
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_ratio, config.norm_eps) for _ in range(config.depth)
        )

    def stem_stages(self, image: Tensor) -> list[Tensor]:
        """Feature maps at strides 2, 4, ... up to half the patch size; the mask head finds rims in them."""
        stages = []
        x = image
        for conv, norm in zip(self.stem, self.stem_norm, strict=False):
            x = F.gelu(norm(conv(x)))
            stages.append(x)
        return stages

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem[-1](self.stem_stages(image)[-1]).flatten(2).transpose(1, 2)  # [B, N, C]
        x = x + self.pos.to(x.dtype)  # under autocast the residual stream stays in bfloat16
        for block in self.blocks:
            x = block(x)
        return x
