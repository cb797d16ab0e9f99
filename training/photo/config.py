"""The crate's `config.json` (docs/config.md) of a photo model: encoder, neck, clustering, merger, phrase encoder."""

from dataclasses import asdict

from .encoder import EncoderConfig
from .tokenizer import TokenizerConfig

MEAN, STD = 127 / 255, 128 / 255  # of values in [0, 1]: (x - 127) / 128


def bundle_config(
    name: str,
    image_size: int,
    encoder: EncoderConfig,
    tokenizer: TokenizerConfig,
    threshold: float,
    phrase: dict[str, int],
) -> dict:
    """`phrase`: the phrase encoder's `input`, `hidden` and `width`."""
    neck = ("width", "heads", "context_depth", "context_ratio", "mix_depth", "mix_kernel", "mix_ratio", "norm_eps")
    return {
        "name": name,
        "vision": {
            "kind": "efficientnet-lite",
            "image_size": image_size,
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            **asdict(encoder),
            "neck": {key: getattr(tokenizer, key) for key in neck},
        },
        "preprocess": {"resize": "squash", "filter": "bicubic"},
        "cluster": {
            "neighbors": tokenizer.neighbors,
            "threshold": threshold,
            "max_clusters": tokenizer.max_clusters,
            "norm_eps": tokenizer.norm_eps,
        },
        "merger": {
            "width": tokenizer.width,
            "heads": tokenizer.heads,
            "mlp_ratio": tokenizer.merger_ratio,
            "inner_depth": 0,
            "inter_depth": tokenizer.inter_depth,
            "token_width": tokenizer.token_width,
            "norm_eps": tokenizer.norm_eps,
            "pooled_head": True,
        },
        "phrase": phrase,
    }
