"""Everything that decides the shape of a model. Written as `config.json`, read by the Rust library."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from ..data.scenes import COLOR_LABELS, CONCEPTS, NATURAL_LABEL
from ..data.sprites import SPRITES

FORMAT = 1


@dataclass(frozen=True)
class VisionConfig:
    kind: str = "setokim-vit"
    image_size: int = 128
    patch_size: int = 8
    width: int = 192
    depth: int = 6
    heads: int = 6
    mlp_ratio: int = 3
    stem_channels: tuple[int, ...] = (32, 64)
    norm_eps: float = 1e-6
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    def __post_init__(self):
        if self.patch_size != 2 ** (len(self.stem_channels) + 1):
            raise ValueError(
                f"a stem of {len(self.stem_channels) + 1} convolutions makes no {self.patch_size} px patch"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across."""
        return (self.image_size // self.patch_size,) * 2


@dataclass(frozen=True)
class ClusterConfig:
    """Density-peak clustering. `neighbors` counts the patch itself; see cluster.py."""

    neighbors: int = 5
    threshold: float = 0.6
    max_clusters: int = 16
    pos_scale: float = 0.0
    norm_eps: float = 1e-6


@dataclass(frozen=True)
class MergerConfig:
    width: int = 192
    heads: int = 6
    mlp_ratio: int = 3
    inner_depth: int = 1
    inter_depth: int = 1
    token_width: int = 64
    norm_eps: float = 1e-6


@dataclass(frozen=True)
class DetokenizerConfig:
    width: int = 192
    depth: int = 4
    heads: int = 6
    mlp_ratio: int = 2
    refine_channels: int = 16
    norm_eps: float = 1e-6
    layer_size: int = 0  # pixels down and across of the picture that each token has of its own; 0 for none
    layer_width: int = 512


@dataclass(frozen=True)
class Labels:
    """What the naming heads answer: the first `objects` names are objects, the rest backgrounds."""

    names: tuple[str, ...] = tuple(CONCEPTS)
    objects: int = len(SPRITES.names)
    colors: tuple[str, ...] = tuple(COLOR_LABELS)
    natural: str = NATURAL_LABEL  # the one that stands for no colour in particular


@dataclass(frozen=True)
class Familiarity:
    """How sure the naming heads are of a picture of this world: 548 of 550 test scenes pass, noise does not (its mean
    is .95), and 6 of 30 photographs look plain enough to pass, such as a lawn or a brick wall."""

    background: float = 0.995  # probability of the surest background, at least
    mean: float = 0.96  # of all patches' names, at least


@dataclass(frozen=True)
class ModelConfig:
    format: int = FORMAT
    name: str = "setokim-tiny"
    vision: VisionConfig = field(default_factory=VisionConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    merger: MergerConfig = field(default_factory=MergerConfig)
    detokenizer: DetokenizerConfig = field(default_factory=DetokenizerConfig)
    labels: Labels = field(default_factory=Labels)
    familiarity: Familiarity = field(default_factory=Familiarity)

    def __post_init__(self):
        if self.merger.width != self.vision.width:
            raise ValueError("the merger works on the features as they are: its width is the vision width")

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "ModelConfig":
        """The inverse of `to_json`; keys of later stages are left to their own classes."""
        parts = json.loads(text)
        sections = {f.name: f.default_factory for f in dataclasses.fields(cls) if f.name in parts}
        values = {}
        for name, section in sections.items():
            value = parts[name]
            if isinstance(value, dict):
                value = section(**{k: tuple(v) if isinstance(v, list) else v for k, v in value.items()})
            values[name] = value
        return cls(**values)

    @classmethod
    def load(cls, path: Path) -> "ModelConfig":
        return cls.from_json(Path(path).read_text())


CONFIGS = {
    # What two CPU cores can train in an hour or two. Three wide heads: on a CPU softmax costs more than products.
    "nano": ModelConfig(
        vision=VisionConfig(heads=3),
        merger=MergerConfig(heads=3),
        detokenizer=DetokenizerConfig(heads=3, refine_channels=8, layer_size=40),
    ),
    # The default size of the design; wants a GPU.
    "tiny": ModelConfig(
        vision=VisionConfig(width=256, heads=8),
        merger=MergerConfig(width=256, heads=8),
        detokenizer=DetokenizerConfig(width=256, depth=6, heads=8, layer_size=40),
    ),
    # Small enough for golden files in the repository and for tests that take a second.
    "test": ModelConfig(
        name="tiny-model",
        vision=VisionConfig(image_size=32, width=16, depth=2, heads=2, mlp_ratio=2, stem_channels=(4, 8)),
        cluster=ClusterConfig(neighbors=3, threshold=0.5, max_clusters=6),
        merger=MergerConfig(width=16, heads=2, mlp_ratio=2, token_width=8),
        detokenizer=DetokenizerConfig(width=16, depth=2, heads=2, refine_channels=4, layer_size=6, layer_width=16),
    ),
}
