"""Scenes for the ablations, each with an edit, and what the frozen encoder makes of them."""

import dataclasses
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.edits import Edit, edit_any
from ..data.scenes import Scene, render_batch, sample_scene, scene_rng
from ..model.cluster import cluster_features
from ..model.config import ClusterConfig
from ..model.setokim import Setokim, order_by_area
from ..stages.metrics import images_to_tensor
from ..stages.precision import mixed_precision
from .ablation_turns import PlainSpeaker

FIXED_TOKENS = 5  # the nearest integer to the mean number of regions, with room for one more


@dataclass
class EncodedScenes:
    """Pictures and what the encoder makes of them; clusters by the name of the clustering, largest first."""

    images: np.ndarray  # [n, S, S, 3] uint8
    features: Tensor  # [n, N, C] float16
    regions: Tensor  # [n, N]
    names: Tensor  # [n, R]
    colors: Tensor  # [n, R]
    object_masks: Tensor  # [n, S, S] bool
    labels: dict[str, Tensor]  # [n, N]
    valid: dict[str, Tensor]  # [n, K]

    def of(self, clustering: str) -> tuple[Tensor, Tensor]:
        return self.labels[clustering], self.valid[clustering]


def clusterings(config: ClusterConfig) -> dict[str, ClusterConfig]:
    return {
        "dynamic": config,
        "fixed": dataclasses.replace(config, threshold=-1.0, max_clusters=FIXED_TOKENS),
        "positions": dataclasses.replace(config, pos_scale=1.0),
    }


@torch.no_grad()
def encode_scenes(model: Setokim, scenes: list[Scene], chunk: int = 50) -> EncodedScenes:
    parts = defaultdict(list)
    for first in range(0, len(scenes), chunk):
        batch = render_batch(scenes[first : first + chunk])
        with mixed_precision(torch.device("cpu")):
            features = model.vision(images_to_tensor(batch.images))
        features = F.layer_norm(features.float(), features.shape[-1:])
        parts["images"].append(batch.images)
        parts["features"].append(features.half())
        parts["regions"].append(torch.from_numpy(batch.patch_regions))
        parts["names"].append(torch.from_numpy(batch.names))
        parts["colors"].append(torch.from_numpy(batch.colors))
        parts["object_masks"].append(torch.from_numpy(batch.regions < batch.object_counts[:, None, None]))
        for name, config in clusterings(model.tokenizer_config.cluster).items():
            clusters = cluster_features(features, model.tokenizer_config.vision.grid, config, exact=False)
            order = order_by_area(clusters.labels, clusters.valid)
            parts[f"labels {name}"].append(order.argsort(1).gather(1, clusters.labels))
            parts[f"valid {name}"].append(clusters.valid.gather(1, order))
    whole = {name: np.concatenate(v) if name == "images" else torch.cat(v) for name, v in parts.items()}
    by_clustering = {
        kind: {name: whole.pop(f"{kind} {name}") for name in clusterings(model.tokenizer_config.cluster)}
        for kind in ("labels", "valid")
    }
    return EncodedScenes(**whole, **by_clustering)


@dataclass
class SceneSplit:
    """Scenes and, for each, one edit: `before[i]` becomes `after[i]`."""

    split: str
    scenes: list[Scene]
    edits: list[Edit]
    before: EncodedScenes
    after: EncodedScenes


def encode_split(model: Setokim, split: str, count: int) -> SceneSplit:
    scenes = [sample_scene(split, index) for index in range(count)]
    edits = [edit_any(PlainSpeaker(scene_rng(split, 2**34 + i)), scene) for i, scene in enumerate(scenes)]
    before, after = encode_scenes(model, scenes), encode_scenes(model, [edit.target for edit in edits])
    for name in before.labels:
        order = in_source_order(*(encoded.of(name) for encoded in (before, after)))
        after.labels[name] = order.argsort(1).gather(1, after.labels[name])
    return SceneSplit(split, scenes, edits, before, after)


def in_source_order(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> Tensor:
    """The order of the clusters of an edited picture: as in its source, then what is new. Largest first it could not
    be foreseen. Labels [n, N] and valid [n, K] of both -> [n, K] cluster indices, the invalid ones last.
    """
    source, edited = (F.one_hot(labels, ok.shape[1]).float() for labels, ok in (before, after))
    shared = edited.transpose(1, 2) @ source  # [n, K, K] patches
    union = edited.sum(1)[:, :, None] + source.sum(1)[:, None] - shared
    share, kept_from = (shared / union.clamp(min=1)).max(2)
    valid = after[1]
    rank = torch.where(share > 0.5, kept_from, valid.shape[1])
    return torch.where(valid, rank, valid.shape[1] + 1).argsort(dim=1, stable=True)
