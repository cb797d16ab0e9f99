"""The model of the ablations: a way of making tokens with a detokenizer and a language model of its own."""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.scenes import COLOR_LABELS, CONCEPTS
from ..data.special_tokens import SpecialTokens
from ..data.tasks import IGNORE
from ..model.config import DetokenizerConfig, ModelConfig
from ..model.detokenizer import Detokenizer
from ..model.llm import Llama, LlmConfig
from ..stages.precision import mixed_precision
from .ablation_scenes import EncodedScenes
from .ablation_turns import Places, Turns
from .ablation_variants import TOKEN_WIDTH, Made, Variant

LLM = LlmConfig(
    vocab_size=960, hidden_size=128, intermediate_size=256, num_hidden_layers=3, max_position_embeddings=1024
)
DETOKENIZER = DetokenizerConfig(width=96, depth=2, heads=3, refine_channels=0)
MOST_TOKENS = 256
MASK_WIDTH = 48


class Ablated(nn.Module):
    """A way of making tokens, with a detokenizer and a language model of its own."""

    def __init__(self, variant: Variant, config: ModelConfig):
        super().__init__()
        self.variant, hidden, width = variant, LLM.hidden_size, config.vision.width
        self.make = variant.make(config, **variant.options)
        self.name, self.color = nn.Linear(TOKEN_WIDTH, len(CONCEPTS)), nn.Linear(TOKEN_WIDTH, len(COLOR_LABELS))
        self.detok = Detokenizer(DETOKENIZER, TOKEN_WIDTH, config.vision)
        self.projector = nn.Sequential(nn.Linear(TOKEN_WIDTH, hidden), nn.GELU(), nn.Linear(hidden, hidden))
        self.slot = nn.Embedding(MOST_TOKENS, hidden)
        nn.init.normal_(self.slot.weight, std=0.02)
        self.llm = Llama(LLM)
        self.mask_query = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, MASK_WIDTH))
        self.mask_features = nn.Linear(width, MASK_WIDTH)
        self.new_token = nn.Linear(hidden, TOKEN_WIDTH)
        self.copy_query, self.copy_key = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)

    def tokens(self, encoded: EncodedScenes, rows: list[int]) -> Made:
        labels, valid = encoded.of(self.variant.clustering)
        features = encoded.features[rows].float()
        with mixed_precision(torch.device("cpu")):
            made = self.make(features, labels[rows], valid[rows])
        return dataclasses.replace(made, tokens=made.tokens.float())

    def render(self, tokens: Tensor, valid: Tensor) -> Tensor:
        with mixed_precision(torch.device("cpu")):
            return self.detok(tokens, valid).float()

    def predict_tokens(self, hidden: Tensor, turns: Turns, made: Made, shape: torch.Size) -> Tensor:
        """Tokens [B, K, D] of edited pictures: what is looked up among the tokens of the source, and what is new."""
        at_predicted, at_read = (hidden[places.row, places.position] for places in (turns.to_predict, turns.read))
        query = spread(self.copy_query(at_predicted), turns.to_predict, shape)
        key = spread(self.copy_key(at_read), turns.read, made.valid.shape)
        fit = query @ key.transpose(1, 2) / hidden.shape[-1] ** 0.5
        copied = fit.masked_fill(~made.valid[:, None], float("-inf")).softmax(-1) @ made.tokens
        return copied + spread(self.new_token(at_predicted), turns.to_predict, shape)


def spread(x: Tensor, places: Places, shape: torch.Size) -> Tensor:
    """[n, H] -> [B, K, H] by row and token, zeros where there is none; `shape` is B, K."""
    return x.new_zeros(*shape, x.shape[-1]).index_put((places.row, places.token), x)


def read_turns(model: Llama, turns: Turns, x: Tensor) -> Tensor:
    """Embeddings -> hidden states [B, T, H]."""
    with mixed_precision(torch.device("cpu")):
        return model.read(x, turns.visible)[0].float()


def read_images(model: Ablated, made: Made, turns: Turns) -> Tensor:
    """Hidden states [B, T, H]. Where a token is to be predicted stands only its slot: the answer is not shown."""
    x = model.llm.embedding[turns.ids]
    x = torch.where((turns.slots >= 0)[..., None], model.slot(turns.slots.clamp(min=0)) + x, x)
    read = turns.read
    with mixed_precision(torch.device("cpu")):
        projected = model.projector(made.tokens[read.row, read.token]).float()
    return read_turns(model.llm, turns, x.index_put((read.row, read.position), projected, accumulate=True))


def text_loss(model: Llama, hidden: Tensor, turns: Turns) -> Tensor:
    """Of words: "here comes a visual token" would be most of it where there are many."""
    labels = turns.labels[:, 1:]
    learned = (labels != IGNORE) & (labels != SpecialTokens.visual)
    return F.cross_entropy(model.logits(hidden[:, :-1][learned]), labels[learned])
