"""A LLaMA-family language model with the tensor names of Hugging Face, so that published weights load unchanged."""

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import attend


@dataclass(frozen=True)
class LlmConfig:
    """Keys as in a Hugging Face config.json. The output head is the embedding, transposed."""

    vocab_size: int = 2048
    hidden_size: int = 256
    intermediate_size: int = 704
    num_hidden_layers: int = 6
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    max_position_embeddings: int = 512
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    tie_word_embeddings: bool = True

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads


class RmsNorm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), x.shape[-1:], self.weight, self.eps).to(x.dtype)


@cache
def rotary_table(length: int, head_dim: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines [length, head_dim]; the second half of a row repeats the first."""
    frequency = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos().float().to(device), angle.sin().float().to(device)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (i, i + head_dim / 2) of `x` [B, heads, T, head_dim]."""
    first, second = x.chunk(2, dim=-1)
    return x * cos.to(x.dtype) + torch.cat([-second, first], dim=-1) * sin.to(x.dtype)


class SelfAttention(nn.Module):
    """Attention with grouped queries."""

    def __init__(self, config: LlmConfig):
        super().__init__()
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        kv_width = self.kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, is_causal: bool) -> Tensor:
        q = self.q_proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, T, head_dim]
        k = self.k_proj(x).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)
        v = self.v_proj(x).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)
        q, k = rotate(torch.cat([q, k], 1), cos, sin).split([self.heads, self.kv_heads], 1)
        # Query heads [g * group, (g + 1) * group) share key head g.
        group = self.heads // self.kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        return self.o_proj(attend(q, k, v, mask, is_causal).transpose(1, 2).flatten(2))


class SwiGlu(nn.Module):
    def __init__(self, config: LlmConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    def __init__(self, config: LlmConfig):
        super().__init__()
        self.input_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = SelfAttention(config)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = SwiGlu(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, is_causal: bool) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask, is_causal)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """`model.*` of Hugging Face. Works on embeddings, so that visual tokens can stand between words."""

    def __init__(self, config: LlmConfig):
        super().__init__()
        self.config = config
        self.model = nn.ModuleDict(
            {
                "embed_tokens": nn.Embedding(config.vocab_size, config.hidden_size),
                "layers": nn.ModuleList(DecoderLayer(config) for _ in range(config.num_hidden_layers)),
                "norm": RmsNorm(config.hidden_size, config.rms_norm_eps),
            }
        )
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                # Layers that write into the residual stream start smaller the more of them there are.
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * config.num_hidden_layers) ** (0.5 * deep))

    @property
    def embedding(self) -> Tensor:
        """[vocabulary, H], also the output head."""
        return self.model["embed_tokens"].weight

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings [B, T, H] -> hidden states after the final norm [B, T, H]. Padding goes to the right."""
        return self.read(x)[0]

    def read(self, x: Tensor, visible: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """As `forward`, and the states [B, T, H] after each layer, without a norm.

        `visible` [B, T, T] is true where a position may attend, if that is not all that comes before it.
        """
        length = x.shape[1]
        cos, sin = rotary_table(length, self.config.head_dim, self.config.rope_theta, x.device)
        before = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        mask = before if visible is None else visible[:, None]
        states = []
        for layer in self.model["layers"]:
            x = layer(x, cos, sin, mask, is_causal=visible is None)
            states.append(x)
        return self.model["norm"](x), states

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden @ self.embedding.to(hidden.dtype).T
