"""Visual tokens to embeddings of the language model."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Projector(nn.Module):
    """Tokens [..., D] -> embeddings [..., H].

    `mean` and `std` [D] are those of the tokens of real pictures: the language model reads and the diffusion head
    writes tokens in this unit.
    """

    def __init__(self, token_width: int, hidden: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(token_width))
        self.register_buffer("std", torch.ones(token_width))
        self.fc1 = nn.Linear(token_width, hidden)
        self.fc2 = nn.Linear(hidden, hidden)

    def normalize(self, tokens: Tensor) -> Tensor:
        return (tokens - self.mean) / self.std

    def denormalize(self, normalized: Tensor) -> Tensor:
        return normalized * self.std + self.mean

    def forward(self, normalized: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(normalized)))
