"""From the encoder's maps to semantic tokens: neck, density-peak clustering, merger."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.cluster import Clusters, density_peaks
from ..model.layers import Block, sincos_positions


@dataclass(frozen=True)
class TokenizerConfig:
    """Sizes of neck, clustering and merger; the grid is that of stride 16."""

    grid: int = 24
    channels8: int = 48
    channels16: int = 120
    channels32: int = 352
    head: int = 1280
    width: int = 256
    heads: int = 4
    context_depth: int = 2
    context_ratio: int = 4
    mix_depth: int = 1
    mix_kernel: int = 5
    mix_ratio: int = 2
    neighbors: int = 8
    max_clusters: int = 16
    merger_ratio: int = 2
    inter_depth: int = 2
    token_width: int = 384
    norm_eps: float = 1e-6


@dataclass
class Maps:
    """The encoder's maps of B photos, channels last, and the head map that follows from the last of them."""

    stride8: Tensor  # [B, 2G, 2G, channels8]
    stride16: Tensor  # [B, G, G, channels16]
    stride32: Tensor  # [B, G/2, G/2, channels32]
    head: Tensor  # [B, G/2, G/2, head]

    def flipped(self) -> "Maps":
        return Maps(*(m.flip(2) for m in (self.stride8, self.stride16, self.stride32, self.head)))


class NormLinear(nn.Module):
    """LayerNorm over the channels, then a linear layer."""

    def __init__(self, channels: int, width: int, eps: float):
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=eps)
        self.proj = nn.Linear(channels, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.norm(x))


class NormConv(nn.Module):
    """LayerNorm over the channels, then a 3x3 convolution of stride 2 with a rim of one zero: half the side."""

    def __init__(self, channels: int, width: int, eps: float):
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=eps)
        self.conv = nn.Conv2d(channels, width, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class MixBlock(nn.Module):
    """Depthwise convolution, LayerNorm, two linear layers with GELU between; added to the input [B, G, G, W]."""

    def __init__(self, width: int, kernel: int, ratio: int, eps: float):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.fc1 = nn.Linear(width, ratio * width)
        self.fc2 = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.fc2(F.gelu(self.fc1(self.norm(y))))


class Neck(nn.Module):
    """The encoder's maps -> features [B, G * G, W]: context at stride 32, detail from strides 16 and 8."""

    def __init__(self, config: TokenizerConfig):
        super().__init__()
        width, eps = config.width, config.norm_eps
        self.stride32 = NormLinear(config.channels32, width, eps)
        self.head = NormLinear(config.head, width, eps)
        self.positions = nn.Parameter(torch.randn((config.grid // 2) ** 2, width) * 0.02)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.context_ratio, eps) for _ in range(config.context_depth)
        )
        self.stride16 = NormLinear(config.channels16, width, eps)
        self.stride8 = NormConv(config.channels8, width, eps)
        self.mix = nn.ModuleList(
            MixBlock(width, config.mix_kernel, config.mix_ratio, eps) for _ in range(config.mix_depth)
        )

    def forward(self, maps: Maps) -> Tensor:
        x = (self.stride32(maps.stride32) + self.head(maps.head)).flatten(1, 2)
        x = x + self.positions.to(x.dtype)
        for block in self.blocks:
            x = block(x)
        x = x.unflatten(1, maps.stride32.shape[1:3])
        x = x.repeat_interleave(2, 1).repeat_interleave(2, 2)  # each position becomes 2 x 2
        x = x + self.stride16(maps.stride16) + self.stride8(maps.stride8)
        for block in self.mix:
            x = block(x)
        return x.flatten(1, 2)


@dataclass
class Summary:
    """All that the merger needs of K clusters: means over each cluster, largest cluster first."""

    features: Tensor  # [B, K, W]
    positions: Tensor  # [B, K, W] sine positions
    head: Tensor  # [B, K, head]
    valid: Tensor  # [B, K]


class Merger(nn.Module):
    """Summaries of clusters -> tokens [B, K, D]: our token merger without inner blocks, with the encoder's head map."""

    def __init__(self, config: TokenizerConfig):
        super().__init__()
        width, eps = config.width, config.norm_eps
        self.pos_proj = nn.Linear(width, width)
        self.inter = nn.ModuleList(
            Block(width, config.heads, config.merger_ratio, eps) for _ in range(config.inter_depth)
        )
        self.out = nn.Linear(width, config.token_width)
        self.pooled = NormLinear(config.head, config.token_width, eps)
        self.out_norm = nn.LayerNorm(config.token_width, eps=eps)

    def forward(self, summary: Summary) -> Tensor:
        x = self.pos_proj(summary.positions)  # of a mean it is the mean: the same as to add positions to every patch
        x = x + summary.features.to(x.dtype)
        for block in self.inter:
            x = block(x, summary.valid[:, None, None, :])
        return self.out_norm(self.out(x) + self.pooled(summary.head.to(x.dtype)))


def cluster_share(labels: Tensor, clusters: int) -> Tensor:
    """labels [B, N] -> what each patch gives to the mean of its cluster [B, K, N]."""
    member = F.one_hot(labels, clusters).transpose(1, 2).float()
    return member / member.sum(-1, keepdim=True).clamp(min=1)


def pool_head(share: Tensor, head: Tensor) -> Tensor:
    """Mean of the head map over each cluster, each position of it standing for 2 x 2 patches: [B, K, head]."""
    half = head.shape[1]
    coarse = share.unflatten(2, (half, 2, half, 2)).sum((3, 5)).flatten(2)  # [B, K, half * half]
    return coarse @ head.flatten(1, 2).to(share.dtype)


@dataclass
class Tokens:
    tokens: Tensor  # [B, K, D], largest cluster first
    valid: Tensor  # [B, K]
    labels: Tensor  # [B, N] index of the token of each patch
    features: Tensor  # [B, N, W] normalised


class PhotoTokenizer(nn.Module):
    """Maps of the encoder -> semantic tokens. `threshold` follows the features while they are trained."""

    def __init__(self, config: TokenizerConfig):
        super().__init__()
        self.config = config
        self.neck = Neck(config)
        self.merger = Merger(config)
        self.register_buffer("positions", sincos_positions((config.grid,) * 2, config.width), persistent=False)
        self.register_buffer("threshold", torch.tensor(0.5))

    def features(self, maps: Maps) -> Tensor:
        return F.layer_norm(self.neck(maps).float(), (self.config.width,), eps=self.config.norm_eps)

    def cluster(self, features: Tensor, exact: bool = False) -> Clusters:
        config = self.config
        return density_peaks(features.detach(), config.neighbors, float(self.threshold), config.max_clusters, exact)

    def forward(self, maps: Maps) -> Tokens:
        features = self.features(maps)
        labels, valid = by_area(self.cluster(features, exact=not self.training))
        return Tokens(self.merger(self.summarize(features, maps.head, labels, valid)), valid, labels, features)

    def summarize(self, features: Tensor, head: Tensor, labels: Tensor, valid: Tensor) -> Summary:
        """features [B, N, W], head [B, G/2, G/2, head], labels [B, N], valid [B, K]."""
        share = cluster_share(labels, valid.shape[1])
        return Summary(share @ features, share @ self.positions, pool_head(share, head), valid)

    @torch.no_grad()
    def follow(self, valid: Tensor, wanted: float) -> None:
        """Moves the threshold a little so that photos have `wanted` tokens on average."""
        mean = valid.float().sum(1).mean()
        self.threshold.mul_(torch.exp(0.02 * ((mean - wanted) / wanted).clamp(-1, 1)))


def by_area(clusters: Clusters) -> tuple[Tensor, Tensor]:
    """Labels and validity with the largest cluster first; equal areas keep the order of their centres."""
    count = clusters.valid.shape[1]
    area = F.one_hot(clusters.labels, count).sum(1)
    order = area.argsort(dim=1, descending=True, stable=True)
    place = torch.empty_like(order).scatter_(1, order, torch.arange(count, device=area.device).expand_as(order))
    return place.gather(1, clusters.labels), clusters.valid.gather(1, order)
