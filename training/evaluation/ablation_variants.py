"""The ways of making visual tokens that `ablations.py` compares: (a) patches, (b) a codebook, (c) learned
queries, (d) clusters. Each goes from features of the frozen encoder [B, N, C] and a clustering of them to tokens
[B, K, D].
"""

import dataclasses
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.config import ModelConfig
from ..model.layers import Attention, Mlp, sincos_positions
from ..model.merger import TokenMerger

TOKEN_WIDTH = 64
POOL = 2  # patches down and across that become one


@dataclass
class Made:
    """Tokens [B, K, D] with `valid` [B, K]; `labels` [B, N] the token of each patch, None where no patch has one."""

    tokens: Tensor
    valid: Tensor
    labels: Tensor | None
    extra_loss: Tensor | float = 0.0


class PatchTokens(nn.Module):
    """(a) A token for each patch, or for each square of `pool` x `pool` patches."""

    def __init__(self, config: ModelConfig, pool: int):
        super().__init__()
        self.pool, (rows, columns), width = pool, config.vision.grid, config.vision.width
        self.register_buffer("positions", sincos_positions((rows // pool, columns // pool), width), persistent=False)
        cell = (torch.arange(rows) // pool)[:, None] * (columns // pool) + torch.arange(columns) // pool
        self.register_buffer("cell", cell.flatten(), persistent=False)
        self.position = nn.Linear(width, width)
        self.mlp = Mlp(width, 3)
        self.out = nn.Linear(width, TOKEN_WIDTH)
        self.norm = nn.LayerNorm(TOKEN_WIDTH)

    def forward(self, features: Tensor, labels: Tensor, valid: Tensor) -> Made:
        count = len(self.positions)
        member = F.one_hot(self.cell, count).to(features.dtype)  # [N, K]
        x = member.T @ features / self.pool**2 + self.position(self.positions)
        tokens = self.norm(self.out(x + self.mlp(x)))
        return Made(tokens, valid.new_ones(len(x), count), self.cell.expand(len(x), -1))


class CodebookTokens(PatchTokens):
    """(b) As (a), each token replaced by the nearest of a learned codebook (VQ-VAE, straight-through)."""

    def __init__(self, config: ModelConfig, pool: int, codes: int = 512):
        super().__init__(config, pool)
        self.codes = nn.Parameter(torch.randn(codes, TOKEN_WIDTH))

    def forward(self, features: Tensor, labels: Tensor, valid: Tensor) -> Made:
        made = super().forward(features, labels, valid)
        tokens = made.tokens.float()
        code = self.codes[torch.cdist(tokens.flatten(0, 1), self.codes).argmin(-1)].view_as(tokens)
        loss = (code - tokens.detach()).square().mean() + 0.25 * (tokens - code.detach()).square().mean()
        return Made(tokens + (code - tokens).detach(), made.valid, made.labels, loss)


class QueryTokens(nn.Module):
    """(c) Learned queries that attend to all patches, as a Q-Former or resampler has them."""

    def __init__(self, config: ModelConfig, count: int, depth: int = 2):
        super().__init__()
        width, heads = config.vision.width, config.merger.heads
        self.register_buffer("positions", sincos_positions(config.vision.grid, width), persistent=False)
        self.position = nn.Linear(width, width)
        self.queries = nn.Parameter(0.5 * torch.randn(count, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3 * depth))
        self.cross = nn.ModuleList(Attention(width, heads) for _ in range(depth))
        self.among = nn.ModuleList(Attention(width, heads) for _ in range(depth))
        self.mlp = nn.ModuleList(Mlp(width, 3) for _ in range(depth))
        self.out = nn.Linear(width, TOKEN_WIDTH)
        self.norm = nn.LayerNorm(TOKEN_WIDTH)

    def forward(self, features: Tensor, labels: Tensor, valid: Tensor) -> Made:
        context = features + self.position(self.positions)
        x = self.queries.expand(len(features), -1, -1)
        for i, (cross, among, mlp) in enumerate(zip(self.cross, self.among, self.mlp)):
            first, second, third = self.norms[3 * i : 3 * i + 3]
            x = x + cross(first(x), context)
            y = second(x)
            x = x + among(y, y)
            x = x + mlp(third(x))
        return Made(self.norm(self.out(x)), valid.new_ones(x.shape[:2]), None)


class ClusterTokens(nn.Module):
    """(d) SeTok: one token for each cluster, largest first."""

    def __init__(self, config: ModelConfig, inner: int = 1, inter: int = 1, positions: bool = True):
        super().__init__()
        self.merger = TokenMerger(
            dataclasses.replace(config.merger, inner_depth=inner, inter_depth=inter, token_width=TOKEN_WIDTH),
            config.vision.grid,
        )
        if not positions:
            self.merger.positions.zero_()

    def forward(self, features: Tensor, labels: Tensor, valid: Tensor) -> Made:
        return Made(self.merger(features, labels, valid), valid, labels)


@dataclass(frozen=True)
class Variant:
    title: str
    make: type[nn.Module]
    options: dict
    clustering: str = "dynamic"
    contrast: bool = True
    reconstruction: bool = True


VARIANTS = {
    "patches-256": Variant("(a) every patch", PatchTokens, {"pool": 1}),
    "patches-64": Variant("(a) patches, pooled", PatchTokens, {"pool": POOL}),
    "codebook-64": Variant("(b) codebook", CodebookTokens, {"pool": POOL}),
    "queries-4": Variant("(c) 4 learned queries", QueryTokens, {"count": 4}),
    "queries-8": Variant("(c) 8 learned queries", QueryTokens, {"count": 8}),
    "queries-16": Variant("(c) 16 learned queries", QueryTokens, {"count": 16}),
    "setok": Variant("(d) SeTok", ClusterTokens, {}),
    "setok-fixed": Variant("(d) always 5 clusters", ClusterTokens, {}, clustering="fixed"),
    "setok-no-inner": Variant("(d) no inner-cluster transformer", ClusterTokens, {"inner": 0}),
    "setok-no-inter": Variant("(d) no inter-cluster transformer", ClusterTokens, {"inter": 0}),
    "setok-mean": Variant("(d) mean instead of the merger", ClusterTokens, {"inner": 0, "inter": 0}),
    "setok-no-positions": Variant("(d) no positions", ClusterTokens, {"positions": False}),
    "setok-positions-first": Variant("(d) positions before the clustering", ClusterTokens, {}, clustering="positions"),
    "setok-no-contrast": Variant("(d) no contrastive loss", ClusterTokens, {}, contrast=False),
    "setok-no-reconstruction": Variant("(d) no reconstruction loss", ClusterTokens, {}, reconstruction=False),
}
