import math

import pytest
import torch

from training.fixtures.tokenizer import CLUSTER_CASES
from training.model.cluster import density_peaks, normalize_features
from training.model.config import ClusterConfig


def plain_density_peaks(x, neighbors, threshold, max_clusters):
    """The definition, in loops over plain numbers. x: list of points."""
    n, width = len(x), len(x[0])
    d = [[math.sqrt(sum((a - b) ** 2 for a, b in zip(p, q)) / width) for q in x] for p in x]
    density = [math.exp(-sum(v * v for v in sorted(row)[:neighbors]) / neighbors) for row in d]
    delta = []
    for i in range(n):
        higher = [j for j in range(n) if density[j] > density[i] or (density[j] == density[i] and j < i)]
        delta.append(min(d[i][j] for j in higher) if higher else max(map(max, d)))
    score = [a * b for a, b in zip(density, delta)]
    best = sorted(range(n), key=lambda i: (-score[i], i))
    centers = sorted([i for i in best if score[i] > threshold][:max_clusters] or best[:1])
    labels = [
        centers.index(i) if i in centers else min(range(len(centers)), key=lambda c: d[i][centers[c]]) for i in range(n)
    ]
    return density, delta, score, centers, labels


@pytest.mark.parametrize("name", CLUSTER_CASES)
def test_agrees_with_the_definition(name):
    sample, neighbors, threshold, max_clusters = CLUSTER_CASES[name]
    x = sample(torch.Generator().manual_seed(3)).double()
    density, delta, score, centers, labels = plain_density_peaks(x.tolist(), neighbors, threshold, max_clusters)
    found = density_peaks(x[None], neighbors, threshold, max_clusters)
    assert torch.allclose(found.density[0], torch.tensor(density).double())
    assert torch.allclose(found.delta[0], torch.tensor(delta).double())
    assert torch.allclose(found.score[0], torch.tensor(score).double())
    assert found.centers[0][found.valid[0]].tolist() == centers
    assert found.labels[0].tolist() == labels


def test_flat_image_is_one_token():
    features = normalize_features(torch.full((1, 256, 16), 3.0), ClusterConfig())
    found = density_peaks(features, 4, 0.5, 16)
    assert found.valid.sum() == 1 and found.centers[0, 0] == 0
    assert (found.labels == 0).all()


def test_a_batch_is_clustered_image_by_image():
    x = torch.randn(3, 40, 8, generator=torch.Generator().manual_seed(0))
    together = density_peaks(x, 4, 0.3, 8)
    for b in range(3):
        alone = density_peaks(x[b : b + 1], 4, 0.3, 8)
        assert torch.equal(together.labels[b], alone.labels[0])
        assert torch.equal(together.centers[b], alone.centers[0])


def test_fast_distances_give_the_same_partition():
    sample, *settings = CLUSTER_CASES["blobs"]
    x = sample(torch.Generator().manual_seed(0))[None]
    assert torch.equal(density_peaks(x, *settings).labels, density_peaks(x, *settings, exact=False).labels)


@pytest.mark.parametrize("neighbors", [0, 8])
def test_impossible_neighbors_are_refused(neighbors):
    with pytest.raises(ValueError, match="neighbors"):
        density_peaks(torch.randn(1, 7, 4), neighbors, 0.5, 16)
