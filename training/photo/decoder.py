"""Stage I's own language model: a few layers over the pieces that captions use, reading tokens by cross-attention."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.layers import Attention, Mlp

PAD, START, END, UNKNOWN = 0, 1, 2, 3
SPECIAL = 4


class SharedDropout(nn.Module):
    """Dropout with one mask for all positions of a sequence [B, T, W]: random numbers are dear on a CPU."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = torch.rand(len(x), 1, x.shape[2], device=x.device) >= self.share
        return x * (kept.to(x.dtype) / (1 - self.share))


class DecoderLayer(nn.Module):
    """Self-attention within each caption, attention to the photo's tokens, feed-forward; all pre-norm."""

    def __init__(self, width: int, heads: int, ratio: int, dropout: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.cross = Attention(width, heads)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = Mlp(width, ratio)
        self.dropout = SharedDropout(dropout)

    def forward(self, x: Tensor, memory: Tensor, valid: Tensor, captions: int) -> Tensor:
        """x [B * captions, T, W], memory [B, K, W]."""
        length = x.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        y = self.norm1(x)
        x = x + self.dropout(self.attn(y, y, causal))
        y = self.norm2(x).view(-1, captions * length, x.shape[2])  # all captions of a photo share its tokens
        x = x + self.dropout(self.cross(y, memory, valid[:, None, None, :]).view_as(x))
        return x + self.dropout(self.mlp(self.norm3(x)))


class CaptionDecoder(nn.Module):
    def __init__(self, vocabulary: int, token_width: int, width: int = 320, layers: int = 3, dropout: float = 0.15):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(40, width)
        self.memory = nn.Linear(token_width, width)
        self.layers = nn.ModuleList(DecoderLayer(width, 5, 3, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = SharedDropout(dropout)
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)

    def hidden(self, tokens: Tensor, valid: Tensor, pieces: Tensor) -> Tensor:
        """tokens [B, K, D], pieces [B * captions, T] -> [B * captions, T, W]."""
        memory = self.memory(self.dropout(tokens))
        captions = len(pieces) // len(tokens)
        x = self.embedding(pieces) * self.embedding.weight.shape[1] ** 0.5
        x = self.dropout(x + self.positions.weight[: pieces.shape[1]]).to(memory.dtype)
        for layer in self.layers:
            x = layer(x, memory, valid, captions)
        return self.norm(x)

    def loss(self, tokens: Tensor, valid: Tensor, pieces: Tensor, smoothing: float = 0.1) -> Tensor:
        """Mean cross-entropy of the next piece; only real positions are computed at the output."""
        hidden = self.hidden(tokens, valid, pieces[:, :-1])
        target = pieces[:, 1:]
        real = target != PAD
        logits = self.dropout(hidden)[real] @ self.embedding.weight.T
        return F.cross_entropy(logits.float(), target[real], label_smoothing=smoothing)

    @torch.no_grad()
    def greedy(self, tokens: Tensor, valid: Tensor, length: int = 24) -> list[list[int]]:
        pieces = torch.full((len(tokens), 1), START)
        for _ in range(length):
            logits = self.hidden(tokens, valid, pieces)[:, -1] @ self.embedding.weight.T
            logits[:, [PAD, START, UNKNOWN]] = -torch.inf
            pieces = torch.cat([pieces, logits.argmax(-1, keepdim=True)], 1)
            if (pieces == END).any(1).all():
                break
        return [row[1 : row.index(END)] if END in row else row[1:] for row in pieces.tolist()]
