"""Density-peak clustering of patch features (Rodriguez & Laio 2014, as SeTok uses it).

A patch is a cluster centre when it is dense (close to its nearest neighbours) and far from every denser
patch. Nothing here is learned and no gradient passes: the image decides how many tokens it is worth.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import ClusterConfig
from .layers import sincos_positions


@dataclass
class Clusters:
    """A partition of the patches of B images, padded to `max_clusters` = K."""

    labels: Tensor  # [B, N] index of the cluster of each patch
    valid: Tensor  # [B, K] true for the clusters that exist
    centers: Tensor  # [B, K] patch index of each centre, ascending; N where there is none
    density: Tensor  # [B, N]
    delta: Tensor  # [B, N] distance to the nearest denser patch
    score: Tensor  # [B, N] density * delta


def normalize_features(features: Tensor, config: ClusterConfig) -> Tensor:
    """LayerNorm without affine, so that distances lie in [0, 2] and a threshold means something."""
    return F.layer_norm(features, features.shape[-1:], eps=config.norm_eps)


@torch.no_grad()
def cluster_features(features: Tensor, grid: tuple[int, int], config: ClusterConfig, exact: bool = True) -> Clusters:
    """Features [B, N, C] (already normalised) -> Clusters."""
    width = features.shape[-1]
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    if config.pos_scale:
        features = features + config.pos_scale * sincos_positions(grid, width).to(features)
    return density_peaks(features, config.neighbors, config.threshold, config.max_clusters, exact)


@torch.no_grad()
def density_peaks(x: Tensor, neighbors: int, threshold: float, max_clusters: int, exact: bool = True) -> Clusters:
    """Cluster points `x` [B, N, C]. All ties go to the lower index.

    `exact` sums squared differences; otherwise distances come from a matrix product, which is several times
    faster and differs in the last digits (training does not care, golden files do).
    """
    batch, n, width = x.shape
    if not 1 <= neighbors <= n:
        raise ValueError(f"neighbors = {neighbors} must lie between 1 and the number of patches, {n}")
    mode = "donot_use_mm_for_euclid_dist" if exact else "use_mm_for_euclid_dist"
    distance = torch.cdist(x, x, compute_mode=mode) / width**0.5  # [B, N, N]
    distance.diagonal(dim1=1, dim2=2).zero_()

    nearest = distance.topk(neighbors, dim=-1, largest=False, sorted=False).values
    density = torch.exp(-nearest.square().mean(-1))

    # Rank 0 is the densest; a stable sort gives equal densities to the lower index first.
    order = density.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(n, device=x.device).expand_as(order))
    denser = rank[:, None, :] < rank[:, :, None]
    diameter = distance.flatten(1).amax(1)
    delta = torch.where(denser, distance, diameter[:, None, None]).amin(-1)
    score = density * delta

    ranked, candidates = score.sort(dim=1, descending=True, stable=True)
    kept = min(max_clusters, n)
    valid = ranked[:, :kept] > threshold
    valid[:, 0] = True  # a flat image is one token
    centers = torch.where(valid, candidates[:, :kept], n).sort(dim=1).values
    centers = F.pad(centers, (0, max_clusters - kept), value=n)
    valid = centers < n

    index = centers.clamp(max=n - 1)
    to_center = distance.gather(1, index[:, :, None].expand(-1, -1, n))  # [B, K, N]
    labels = to_center.masked_fill(~valid[:, :, None], float("inf")).argmin(1)
    # A centre owns itself even when another centre lies at distance 0. Padding writes to a spare column.
    labels = F.pad(labels, (0, 1)).scatter(1, centers, torch.arange(max_clusters, device=x.device).expand_as(centers))
    return Clusters(labels[:, :n], valid, centers, density, delta, score)
