"""Golden files of the Rust tests: `python -m training.fixtures` writes tests/fixtures/ anew, always the same.

Expected values are computed in float64 and stored as float32. Inputs whose answer would hang on the last digit
(a score near the threshold, two densities or distances nearly equal) are rejected and drawn again.
"""

import argparse
import json
from itertools import count
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from .bundle import write_bundle
from .model import CONFIGS, SeTok
from .model.cluster import Clusters, cluster_features, density_peaks

FIXTURES = Path("tests/fixtures")
SCORE_MARGIN = 1e-3  # of every score to the threshold, and of the last kept to the first dropped centre
DISTANCE_MARGIN = 1e-3  # of the nearest to the second nearest centre
DENSITY_MARGIN = 2e-5  # between any two densities; equal ones are welcome, they test the tie-break


def save(path: Path, tensors: dict[str, Tensor]) -> None:
    """Floats as float32, indices as int32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = {torch.float64: torch.float32, torch.int64: torch.int32}
    save_file({name: t.detach().to(kinds.get(t.dtype, t.dtype)).contiguous() for name, t in tensors.items()}, path)
    path.chmod(0o644)


# --- clustering -------------------------------------------------------------------------------------------


def is_clear_cut(x: Tensor, clusters: Clusters, threshold: float, max_clusters: int) -> bool:
    """True when float32 in any order of summation gives the same partition of `x` [1, N, C]."""
    density = clusters.density[0].sort().values.diff()
    if ((density > 0) & (density < DENSITY_MARGIN)).any():
        return False
    score = clusters.score[0].sort(descending=True).values
    if ((score - threshold).abs() < SCORE_MARGIN).any():
        return False
    above = int((score > threshold).sum())
    if above > max_clusters and score[max_clusters - 1] - score[max_clusters] < SCORE_MARGIN:
        return False
    centers = x[0, clusters.centers[0][clusters.valid[0]]]
    if len(centers) < 2:
        return True
    nearest = (torch.cdist(x[0], centers) / x.shape[-1] ** 0.5).sort(dim=1).values
    return bool((nearest[:, 1] - nearest[:, 0] > DISTANCE_MARGIN).all())


def hand_case(_: torch.Generator) -> Tensor:
    """Two tight triples and a loner on a line: 7 points whose partition one sees at a glance."""
    return torch.tensor([[0.0], [0.1], [0.25], [3.0], [3.1], [3.3], [6.0]])


def blobs(n: int, width: int, clusters: int):
    """`n` points around `clusters` centres, in shuffled order."""

    def draw(generator: torch.Generator) -> Tensor:
        centers = torch.randn(clusters, width, generator=generator)
        member = torch.randint(clusters, (n,), generator=generator)
        return centers[member] + 0.15 * torch.randn(n, width, generator=generator)

    return draw


# name: (draw, neighbors, threshold, max_clusters)
CLUSTER_CASES = {
    "hand": (hand_case, 3, 0.5, 16),
    "blobs": (blobs(64, 16, 5), 4, 0.5, 16),
    "ragged": (blobs(37, 13, 3), 5, 0.5, 16),
    "capped": (blobs(64, 16, 9), 4, 0.25, 4),
    "nothing_above": (blobs(32, 8, 3), 4, 8.0, 16),
    "equal": (lambda _: torch.full((24, 6), 0.75), 4, 0.5, 16),
    "duplicates": (lambda g: blobs(24, 8, 3)(g)[torch.arange(48) % 24], 4, 0.5, 16),
    "single": (lambda g: torch.randn(1, 8, generator=g), 1, 0.5, 16),
}


def write_cluster_fixtures(folder: Path) -> None:
    """cluster_NAME.safetensors: features as they are (no layer norm), settings, and every intermediate value."""
    for name, (draw, neighbors, threshold, max_clusters) in CLUSTER_CASES.items():
        for seed in count():
            features = draw(torch.Generator().manual_seed(seed))
            x = features.double()[None]
            clusters = density_peaks(x, neighbors, threshold, max_clusters)
            if is_clear_cut(x, clusters, threshold, max_clusters):
                break
        save(
            folder / f"cluster_{name}.safetensors",
            {
                "features": features,
                "neighbors": torch.tensor([neighbors]),
                "threshold": torch.tensor([threshold]),
                "max_clusters": torch.tensor([max_clusters]),
                **cluster_tensors(clusters),
            },
        )


def cluster_tensors(clusters: Clusters) -> dict[str, Tensor]:
    """The values of the first image, without padding."""
    return {
        "density": clusters.density[0],
        "delta": clusters.delta[0],
        "score": clusters.score[0],
        "centers": clusters.centers[0][clusters.valid[0]],
        "labels": clusters.labels[0],
    }


# --- the tiny model ---------------------------------------------------------------------------------------


def tiny_model() -> SeTok:
    """A model in which every parameter matters: no weight is zero, no norm is the identity."""
    torch.manual_seed(0)
    model = SeTok(CONFIGS["test"])
    for parameter in model.parameters():
        noise = torch.randn_like(parameter.data)
        if parameter.ndim > 1:
            parameter.data = noise * parameter[0].numel() ** -0.5
        else:
            # The biases of the norms and linears are near 0, the weights of the norms near 1.
            parameter.data = 0.1 * noise + parameter.data.round()
    # Layers that lie on the image, not all of them wholly.
    box = model.detok.layers.box
    box.weight.data *= 0.3
    box.bias.data += torch.tensor([0.5, 0.5, 0.7])
    return model.eval()


def tiny_picture(seed: int) -> Tensor:
    """[32, 32, 3] uint8: blocks of colour with a little grain."""
    rng = np.random.default_rng(seed)
    picture = np.empty((32, 32, 3))
    picture[:] = rng.uniform(0, 255, 3)
    for _ in range(3):
        y, x = rng.integers(0, 4, 2) * 8
        picture[y : y + 16, x : x + 8 * rng.integers(1, 3)] = rng.uniform(0, 255, 3)
    return torch.from_numpy((picture + rng.normal(0, 4, picture.shape)).clip(0, 255).astype(np.uint8))


@torch.no_grad()
def write_model_fixtures(folder: Path) -> None:
    """tiny-model/ (a complete bundle) and, for it, each stage alone and the whole way from pixels to pixels."""
    model = tiny_model()
    write_bundle(folder / "tiny-model", model, matrix_dtype=torch.float32)
    model = model.double()
    grid, config = model.config.vision.grid, model.config.cluster
    for seed in count():
        picture = tiny_picture(seed)
        image = (picture.double() / 127.5 - 1).permute(2, 0, 1)[None]
        features = model.vision(image)
        normalized = model.encode(image)
        clusters = cluster_features(normalized, grid, config)
        clear = is_clear_cut(normalized, clusters, config.threshold, config.max_clusters)
        if clear and 3 <= clusters.valid.sum() < config.max_clusters:
            break
    tokens = model.merge(normalized, clusters.labels, clusters.valid)
    real = tokens[clusters.valid][None]
    names, colors = model.heads(real)
    reconstruction = model.detok(tokens, clusters.valid)

    save(folder / "vision_tiny.safetensors", {"image": image, "features": features})
    merged = {"features": normalized, "labels": clusters.labels[0], "tokens": real}
    save(folder / "merger_tiny.safetensors", merged)
    layout = model.detok.layout(tokens, clusters.valid)[:, :, clusters.valid[0]]
    save(folder / "detok_tiny.safetensors", {"tokens": real, "layout": layout, "image": reconstruction})
    save(
        folder / "setok_tiny.safetensors",
        {
            "pixels": picture,
            "features": normalized,
            **cluster_tensors(clusters),
            "tokens": real[0],
            "name_logits": names[0],
            "color_logits": colors[0],
            "reconstruction": reconstruction,
            "reconstructed_pixels": ((reconstruction[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0),
        },
    )


# --- SigLIP -----------------------------------------------------------------------------------------------


@torch.no_grad()
def write_siglip_fixture(folder: Path) -> None:
    """siglip-tiny/: a random SigLIP vision tower in the layout of the published ones, with its features for a picture.

    Published (`google/siglip-*`): names start with `vision_model.`, sizes lie under `vision_config`. What transformers
    5 saves for a vision tower alone has neither, so both are put back.

    `layer_-1` and `layer_-2` are the outputs of the last and the last but one encoder layer, before the final
    norm (taken by hooks: what `hidden_states[-1]` holds has changed between versions of transformers);
    `last_hidden_state` is after the norm.
    """
    from transformers import SiglipVisionConfig, SiglipVisionModel

    torch.manual_seed(0)
    config = SiglipVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    model = SiglipVisionModel(config).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter += 0.1 * torch.randn_like(parameter)
    target = folder / "siglip-tiny"
    published = {f"vision_model.{name.removeprefix('vision_model.')}": t for name, t in model.state_dict().items()}
    save(target / "model.safetensors", published)
    sizes = {name: value for name, value in config.to_diff_dict().items() if name != "transformers_version"}
    layout = {"architectures": ["SiglipModel"], "model_type": "siglip", "vision_config": sizes}
    (target / "config.json").write_text(json.dumps(layout, indent=2) + "\n")

    model = model.double()
    outputs = []
    encoder = next(m for name, m in model.named_modules() if name.endswith("encoder"))
    for layer in encoder.layers:
        layer.register_forward_hook(lambda _, __, out: outputs.append(out[0] if isinstance(out, tuple) else out))
    pixels = torch.rand(1, 3, 32, 32).double() * 2 - 1
    final = model(pixel_values=pixels).last_hidden_state
    save(
        target / "expected.safetensors",
        {"pixel_values": pixels, "layer_-1": outputs[-1], "layer_-2": outputs[-2], "last_hidden_state": final},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES)
    folder = parser.parse_args().out
    write_cluster_fixtures(folder)
    write_model_fixtures(folder)
    write_siglip_fixture(folder)


if __name__ == "__main__":
    main()
