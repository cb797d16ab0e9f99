"""SeTok: image -> semantic-equivalent visual tokens -> image."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .cluster import Clusters, cluster_features, normalize_features
from .config import Labels, ModelConfig
from .detokenizer import Detokenizer
from .merger import TokenMerger
from .vision import VisionEncoder


class NamingHeads(nn.Module):
    """What a token shows: its name among all concepts, and its colour."""

    def __init__(self, token_width: int, labels: Labels):
        super().__init__()
        self.name = nn.Linear(token_width, len(labels.names))
        self.color = nn.Linear(token_width, len(labels.colors))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.name(tokens), self.color(tokens)


@dataclass
class Tokens:
    features: Tensor  # [B, N, C] normalised patch features
    clusters: Clusters
    tokens: Tensor  # [B, K, D]


class SeTok(nn.Module):
    """The tokenizer (`vision`, `setok.merger`), the detokenizer (`detok`) and the naming heads (`heads`)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.vision = VisionEncoder(config.vision)
        self.setok = nn.ModuleDict({"merger": TokenMerger(config.merger, config.vision.grid)})
        self.detok = Detokenizer(config.detokenizer, config.merger.token_width, config.vision)
        self.heads = NamingHeads(config.merger.token_width, config.labels)

    def config_json(self) -> str:
        return self.config.to_json()

    def encode(self, image: Tensor) -> Tensor:
        """Image [B, 3, S, S] in [-1, 1] -> normalised features [B, N, C]."""
        return normalize_features(self.vision(image), self.config.cluster)

    def merge(self, features: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
        return self.setok["merger"](features, labels, valid)

    @torch.no_grad()
    def tokenize(self, image: Tensor) -> Tokens:
        features = self.encode(image)
        clusters = cluster_features(features, self.config.vision.grid, self.config.cluster)
        return Tokens(features, clusters, self.merge(features, clusters.labels, clusters.valid))
