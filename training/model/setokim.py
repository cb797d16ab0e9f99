"""Setokim: the language model around SeTok. Visual tokens stand between words, going in and coming out."""

import dataclasses
import json
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..data.special_tokens import SpecialTokens
from .diffusion import DiffusionConfig, DiffusionHead
from .llm import Llama, LlmConfig
from .mask_head import MaskHead, MaskHeadConfig
from .projector import Projector
from .setok import SeTok


@dataclass(frozen=True)
class Prompts:
    """What the language model reads where a task is asked for; {} stands for the words."""

    segment: str = "segment {}"
    generate: str = "draw {}"
    edit: str = "{}"


@dataclass(frozen=True)
class CompositeConfig:
    """What of an edit's surroundings is taken from the generated image besides the patches that changed."""

    rim: tuple[float, float] = (0.05, 0.13)  # mean difference of nine pixels, of 1, that is noise, and that is all new
    remnant_reach: int = 5  # pixels, about half a patch: how far a thing may lie from where it is rendered
    # Of 255: more than texture has, more than the detokenizer's noise, and what shading has.
    strange: int = 25
    went: int = 38
    alike: int = 20


@dataclass(frozen=True)
class SetokimConfig:
    """What stages 2 and 3 add to a config.json."""

    llm: LlmConfig = field(default_factory=LlmConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    mask_head: MaskHeadConfig = field(default_factory=MaskHeadConfig)
    special_tokens: SpecialTokens = field(default_factory=SpecialTokens)
    # Logits by which [Img] must beat words at the beginning of an answer about a picture. Training refuses few edits,
    # so a trained model rather makes an image; `training.evaluation.tune` finds what puts that right.
    picture_margin: float = 0.0
    # How it begins that it will not mark, generate or edit, in whole words: all that it may say where a mask or an
    # image is asked for. Without any it may say anything.
    refusals: tuple[str, ...] = ()
    prompts: Prompts = field(default_factory=Prompts)
    composite: CompositeConfig = field(default_factory=CompositeConfig)

    @classmethod
    def from_json(cls, text: str) -> "SetokimConfig":
        """From the text of a config.json of the whole model."""
        parts = json.loads(text)
        settings = {
            "picture_margin": parts.get("picture_margin", cls.picture_margin),
            "refusals": tuple(parts.get("refusals", cls.refusals)),
        }
        sections = {f.name: f.default_factory for f in dataclasses.fields(cls) if f.name not in settings}
        # Checkpoints from before `prompts` and `composite` have their defaults.
        return cls(**{name: section(**parts.get(name, {})) for name, section in sections.items()}, **settings)


class Setokim(nn.Module):
    """SeTok's modules under their own names, and `llm`, `projector`, `diffusion`, `mask_head`."""

    def __init__(self, tokenizer: SeTok, config: SetokimConfig):
        super().__init__()
        self.tokenizer_config, self.config = tokenizer.config, config
        vision, merger = tokenizer.config.vision, tokenizer.config.merger
        hidden = config.llm.hidden_size
        self.vision, self.setok, self.detok, self.heads = (
            tokenizer.vision,
            tokenizer.setok,
            tokenizer.detok,
            tokenizer.heads,
        )
        self.llm = Llama(config.llm)
        self.projector = Projector(merger.token_width, hidden)
        self.diffusion = DiffusionHead(config.diffusion, merger.token_width, hidden)
        self.mask_head = MaskHead(config.mask_head, hidden, vision.width, vision.stem_channels)

    def embed(self, ids: Tensor, slots: Tensor, visual: Tensor) -> Tensor:
        """Embeddings [B, T, H] of words and visual tokens.

        ids [B, T]. slots [B, T]: index of a visual token within its own image, -1 for words. visual [B, T, D]:
        normalised visual tokens, anything where `slots` is -1.

        A visual token carries the embedding of its own <keep_slot>, so that "copy token 3" is found by matching.
        """
        table = self.llm.embedding
        copy_token = table[self.config.special_tokens.keep_first + slots.clamp(min=0)]
        projected = self.projector(visual)
        return torch.where(
            (slots >= 0)[..., None], projected + copy_token.to(projected.dtype), table[ids].to(projected.dtype)
        )

    def forward(self, ids: Tensor, slots: Tensor, visual: Tensor) -> Tensor:
        """Hidden states [B, T, H]; position t knows everything up to and with t."""
        return self.read(ids, slots, visual)[0]

    def read(self, ids: Tensor, slots: Tensor, visual: Tensor) -> tuple[Tensor, list[Tensor]]:
        """As `forward`, and the states [B, T, H] after each layer, for losses in training."""
        return self.llm.read(self.embed(ids, slots, visual))

    def config_json(self) -> str:
        """One config.json for both parts."""
        merged = json.loads(self.tokenizer_config.to_json()) | dataclasses.asdict(self.config)
        return json.dumps(merged, indent=2) + "\n"


def order_by_area(labels: Tensor, valid: Tensor) -> Tensor:
    """The order in which the language model reads and writes tokens: largest cluster first, ties by index.

    labels [B, N], valid [B, K] -> [B, K] cluster indices, the invalid ones last.
    """
    area = torch.zeros(valid.shape, device=labels.device).scatter_add_(1, labels, torch.ones_like(labels).float())
    return torch.where(valid, area, -1.0).argsort(dim=1, descending=True, stable=True)
