"""Detokenizer: visual tokens back to pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import DetokenizerConfig, VisionConfig
from .layers import Attention, Mlp, sincos_positions


class DetokenizerBlock(nn.Module):
    """Cross-attention to the tokens, feed-forward, self-attention, feed-forward (all pre-norm)."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, eps: float):
        super().__init__()
        self.norm_cross = nn.LayerNorm(width, eps=eps)
        self.cross_attn = Attention(width, heads)
        self.norm_cross_mlp = nn.LayerNorm(width, eps=eps)
        self.cross_mlp = Mlp(width, mlp_ratio)
        self.norm_self = nn.LayerNorm(width, eps=eps)
        self.self_attn = Attention(width, heads)
        self.norm_self_mlp = nn.LayerNorm(width, eps=eps)
        self.self_mlp = Mlp(width, mlp_ratio)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        x = x + self.cross_attn(self.norm_cross(x), tokens, mask)
        x = x + self.cross_mlp(self.norm_cross_mlp(x))
        y = self.norm_self(x)
        x = x + self.self_attn(y, y)
        return x + self.self_mlp(self.norm_self_mlp(x))


class Detokenizer(nn.Module):
    """Tokens [B, K, D] with `valid` [B, K] -> image [B, 3, S, S] in [-1, 1] (not clamped)."""

    def __init__(self, config: DetokenizerConfig, token_width: int, vision: VisionConfig):
        super().__init__()
        self.grid, self.patch = vision.grid, vision.patch_size
        self.token_in = nn.Linear(token_width, config.width)
        positions = sincos_positions(vision.grid, config.width)
        self.queries = nn.Parameter(positions + 0.02 * torch.randn_like(positions))
        self.blocks = nn.ModuleList(
            DetokenizerBlock(config.width, config.heads, config.mlp_ratio, config.norm_eps) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.pixels = nn.Linear(config.width, 3 * vision.patch_size**2)
        self.refine = nn.ModuleList()
        if config.refine_channels:
            self.refine.append(nn.Conv2d(3, config.refine_channels, 3, padding=1))
            self.refine.append(nn.Conv2d(config.refine_channels, 3, 3, padding=1))
            nn.init.zeros_(self.refine[1].weight)
            nn.init.zeros_(self.refine[1].bias)

    def forward(self, tokens: Tensor, valid: Tensor) -> Tensor:
        context, mask = self.token_in(tokens), valid[:, None, None, :]
        x = self.queries.to(context.dtype).expand(len(tokens), -1, -1)
        for block in self.blocks:
            x = block(x, context, mask)
        image = self.unpatchify(self.pixels(self.norm(x)))
        if self.refine:
            image = image + self.refine[1](F.gelu(self.refine[0](image)))
        return image

    def unpatchify(self, patches: Tensor) -> Tensor:
        """[B, N, P * P * 3] with (y, x, channel) inside a patch -> [B, 3, S, S]."""
        rows, columns = self.grid
        x = patches.unflatten(-1, (self.patch, self.patch, 3)).unflatten(1, (rows, columns))
        return x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)

    def layout(self, tokens: Tensor, valid: Tensor) -> Tensor:
        """First cross-attention map [B, N, K]: where the decoder believes each token lies."""
        block = self.blocks[0]
        query = block.norm_cross(self.queries).expand(len(tokens), -1, -1)
        return block.cross_attn.weights(query, self.token_in(tokens), valid[:, None, None, :])
