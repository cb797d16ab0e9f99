"""The blocks everything is made of: attention, feed-forward, pre-norm transformer block.

Letters used in every shape comment of this package:
B images, N patches, L clusters (tokens), C feature width, D token width, W decoder width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sincos_positions(grid: tuple[int, int], width: int) -> Tensor:
    """2-D sine-cosine positions of a patch grid, row-major: [N, width].

    A row is (sin y, cos y, sin x, cos x), each over width / 4 frequencies 10000^(-i / (width / 4)).
    """
    if width % 4:
        raise ValueError(f"sine-cosine positions need a width divisible by 4, got {width}")
    quarter = width // 4
    frequency = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    y, x = y.reshape(-1, 1) * frequency, x.reshape(-1, 1) * frequency
    return torch.cat([y.sin(), y.cos(), x.sin(), x.cos()], dim=1).float()


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool = False) -> Tensor:
    """Scaled dot-product attention; `mask` is true where a query may attend. `is_causal` says that it is a lower
    triangle, which the fused form needs no mask for.

    Training on a CPU spells it out, because the backward pass of the fused form is twice as slow there.
    """
    if q.device.type != "cpu" or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, None if is_causal else mask, is_causal=is_causal)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf"))
    return logits.softmax(-1) @ v


class Attention(nn.Module):
    """Multi-head attention of `x` [B, N, W] to `context` [B, M, W]."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, N, W / heads]

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask` is true where a query may attend, broadcastable to [B, heads, N, M]."""
        q, k, v = self._split(self.q(x)), self._split(self.k(context)), self._split(self.v(context))
        return self.out(attend(q, k, v, mask).transpose(1, 2).flatten(2))

    def weights(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """The attention map itself, averaged over heads: [B, N, M]."""
        q, k = self._split(self.q(x)).float(), self._split(self.k(context)).float()
        logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        if mask is not None:
            logits = logits.masked_fill(~mask, float("-inf"))
        return logits.softmax(-1).mean(1)


class Mlp(nn.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, width: int, ratio: int):
        super().__init__()
        self.fc1 = nn.Linear(width, ratio * width)
        self.fc2 = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block: [B, N, W] -> [B, N, W]."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, eps: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, mlp_ratio)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.norm1(x)
        x = x + self.attn(y, y, mask)
        return x + self.mlp(self.norm2(x))
