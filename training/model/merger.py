"""Token merger: the patches of each cluster become one visual token."""

import torch.nn.functional as F
from torch import Tensor, nn

from .config import MergerConfig
from .layers import Block, sincos_positions


class TokenMerger(nn.Module):
    """Features [B, N, C] and labels [B, N] -> tokens [B, K, D] for K = width of `valid`."""

    def __init__(self, config: MergerConfig, grid: tuple[int, int]):
        super().__init__()
        block = (config.width, config.heads, config.mlp_ratio, config.norm_eps)
        self.register_buffer("positions", sincos_positions(grid, config.width), persistent=False)
        self.pos_proj = nn.Linear(config.width, config.width)
        self.inner = nn.ModuleList(Block(*block) for _ in range(config.inner_depth))
        self.inter = nn.ModuleList(Block(*block) for _ in range(config.inter_depth))
        self.out = nn.Linear(config.width, config.token_width)
        self.out_norm = nn.LayerNorm(config.token_width, eps=config.norm_eps)

    def forward(self, features: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
        # Positions join only now: before the clustering they would split large backgrounds.
        positions = self.pos_proj(self.positions)
        x = features.to(positions.dtype) + positions
        same_cluster = (labels[:, :, None] == labels[:, None, :])[:, None]  # [B, 1, N, N]
        for block in self.inner:
            x = block(x, same_cluster)
        member = F.one_hot(labels, valid.shape[1]).transpose(1, 2).to(x.dtype)  # [B, K, N]
        tokens = (member @ x) / member.sum(-1, keepdim=True).clamp(min=1)
        to_real = valid[:, None, None, :]  # [B, 1, 1, K]
        for block in self.inter:
            tokens = block(tokens, to_real)
        return self.out_norm(self.out(tokens))
