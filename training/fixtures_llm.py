"""Golden files of the language model and its heads: `python -m training.fixtures_llm`.

Expected values are computed in float64 from weights stored as float32 (or dequantised, for the GGUF file).
"""

import argparse
import dataclasses
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers.normalizers import Sequence
from torch import Tensor

from .bundle import write_bundle
from .fixtures import FIXTURES, save, tiny_model, tiny_picture
from .model.cluster import cluster_features
from .model.diffusion import DiffusionConfig
from .model.llm import Llama, LlmConfig
from .model.mask_head import MaskHeadConfig, full_size
from .model.setokim import Setokim, SetokimConfig, order_by_area
from .vocabulary import train_vocabulary

GREEDY_MARGIN = 1e-3  # between the two best logits at every step of a greedy continuation
TINY_VOCABULARY = 320


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Weights that matter everywhere: matrices keep the scale of their input, norms are near 1, biases near 0."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.data = noise * parameter[0].numel() ** -0.5
        else:
            parameter.data = 0.1 * noise + parameter.data.round()


@torch.no_grad()
def greedy(logits_of, ids: list[int], count: int) -> list[int] | None:
    """`count` ids after `ids`, or None when a step was too close to call. `logits_of(ids)` [T, V]."""
    ids = list(ids)
    for _ in range(count):
        best = logits_of(ids)[-1].topk(2)
        if best.values[0] - best.values[1] < GREEDY_MARGIN:
            return None
        ids.append(int(best.indices[0]))
    return ids[-count:]


def save_checkpoint(path: Path, model: Setokim) -> None:
    """What a run of stage 2 saves, as far as `setokim convert` reads it; matrices as float16 to keep the file small."""
    average = {f"setokim.{name}": t.half() if t.ndim > 1 else t.clone() for name, t in model.state_dict().items()}
    average["naming.name.weight"] = torch.ones(2, 2)
    torch.save({"config": model.config_json(), "average": average, "step": 3, "elapsed": 0.5}, path)


# --- our own model ----------------------------------------------------------------------------------------


@torch.no_grad()
def write_setokim_fixtures(folder: Path) -> None:
    """tiny-setokim/ (a complete bundle) and the values of each part of it."""
    target = folder / "tiny-setokim"
    target.mkdir(parents=True, exist_ok=True)
    text = train_vocabulary(TINY_VOCABULARY, scenes=20)
    text.normalizer = Sequence([])  # tests want back what they typed
    text.save(str(target / "tokenizer.json"), pretty=False)
    config = SetokimConfig(
        llm=LlmConfig(
            vocab_size=TINY_VOCABULARY,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
        ),
        diffusion=DiffusionConfig(width=12, depth=2),
        mask_head=MaskHeadConfig(width=6),
    )
    model = Setokim(tiny_model(), config)
    for i, part in enumerate((model.llm, model.projector, model.diffusion, model.mask_head)):
        randomize(part, seed=i)
    model.projector.mean.normal_(generator=torch.Generator().manual_seed(9)).mul_(0.1)
    model.projector.std.fill_(1.25)
    write_bundle(target, model, matrix_dtype=torch.float32)
    save_checkpoint(folder / "tiny_checkpoint.pt", model)
    model = model.double()

    image = (tiny_picture(0).double() / 127.5 - 1).permute(2, 0, 1)[None]
    features = torch.nn.functional.layer_norm(model.vision(image), (16,), eps=1e-6)
    clusters = cluster_features(features, model.tokenizer_config.vision.grid, model.tokenizer_config.cluster)
    order = order_by_area(clusters.labels, clusters.valid)[:, : int(clusters.valid.sum())]
    tokens = model.setok["merger"](features, clusters.labels, clusters.valid)[0, order[0]]
    normalized = model.projector.normalize(tokens)

    special, count = config.special_tokens, len(tokens)
    question = text.encode("where is the dog ?").ids
    ids = [special.begin, special.user, special.image_start, *[special.visual] * count, special.image_end]
    slots = [-1] * 3 + list(range(count)) + [-1]
    ids += [*question, special.end, special.assistant]
    slots += [-1] * (len(ids) - len(slots))
    ids, slots = torch.tensor([ids]), torch.tensor([slots])
    visual = torch.zeros(1, ids.shape[1], normalized.shape[1]).double()
    visual[0, 3 : 3 + count] = normalized
    hidden = model(ids, slots, visual)

    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(3, normalized.shape[1], generator=generator).double()
    condition = hidden[0, -3:]
    stride2, stride4 = model.vision.stem_stages(image)
    logits = model.mask_head(hidden[0, -2:], *(t.expand(2, *t.shape[1:]) for t in (features, stride4, stride2)))
    save(
        folder / "setokim_tiny.safetensors",
        {
            "pixels": tiny_picture(0),
            "token_order": order[0],
            "tokens": tokens,
            "normalized_tokens": normalized,
            "ids": ids[0],
            "slots": slots[0],
            "embeddings": model.embed(ids, slots, visual)[0],
            "hidden": hidden[0],
            "logits": model.llm.logits(hidden)[0],
            "diffusion_levels": model.diffusion.levels,
            "diffusion_noise": noise,
            "diffusion_condition": condition,
            "diffusion_v_at_500": model.diffusion(noise, torch.full((3,), 500), condition),
            "diffusion_sample_5_steps": model.diffusion.sample(noise, condition, steps=5),
            "diffusion_sample_5_steps_guidance_2": model.diffusion.sample(noise, condition, steps=5, guidance=2.0),
            "mask_hidden": hidden[0, -2:],
            "mask_logits": logits,
            "mask_logits_full_size": full_size(logits, image.shape[-1]),
        },
    )


# --- LLaMA as published -----------------------------------------------------------------------------------

LLAMA = LlmConfig(
    vocab_size=TINY_VOCABULARY,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    rope_theta=50000.0,
)
PROMPT = "where is the dog ?"


def llama_logits(model: Llama):
    return lambda ids: model.logits(model(model.embedding[torch.tensor([ids])]))[0]


@torch.no_grad()
def write_llama_fixture(folder: Path) -> None:
    """llama-tiny/: a folder as Hugging Face saves a LLaMA with tied embeddings."""
    target, text = folder / "llama-tiny", train_vocabulary(TINY_VOCABULARY, scenes=20)
    model, prompt, continuation = _llama_with_clear_answer(text.encode(PROMPT).ids)
    save(target / "model.safetensors", model.state_dict())
    sizes = dataclasses.asdict(LLAMA)
    extra = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "attention_bias": False,
    }
    (target / "config.json").write_text(json.dumps(extra | sizes, indent=2) + "\n")
    text.save(str(target / "tokenizer.json"), pretty=False)
    logits = llama_logits(model.double())(prompt)
    expected = {"ids": torch.tensor(prompt), "logits": logits, "greedy": torch.tensor(continuation)}
    save(target / "expected.safetensors", expected)


def _llama_with_clear_answer(prompt: list[int], change=lambda model: None) -> tuple[Llama, list[int], list[int]]:
    """A random LLaMA, after `change`, whose greedy continuation no rounding can alter; in float32."""
    for seed in range(1000):
        model = Llama(LLAMA)
        randomize(model, seed)
        change(model)
        continuation = greedy(llama_logits(model.double()), prompt, 16)
        if continuation:
            return model.float(), prompt, continuation
    raise RuntimeError("every seed gave a near tie")


# One file with every type that the loader must know.
GGUF_TYPES = {
    "self_attn.q_proj": gguf.GGMLQuantizationType.Q8_0,
    "self_attn.k_proj": gguf.GGMLQuantizationType.Q4_0,
    "self_attn.v_proj": gguf.GGMLQuantizationType.Q4_1,
    "self_attn.o_proj": gguf.GGMLQuantizationType.F16,
    "mlp.gate_proj": gguf.GGMLQuantizationType.Q4_0,
    "mlp.up_proj": gguf.GGMLQuantizationType.Q4_1,
    "mlp.down_proj": gguf.GGMLQuantizationType.F32,
    "embed_tokens": gguf.GGMLQuantizationType.Q8_0,
}
GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_type(name: str) -> gguf.GGMLQuantizationType:
    return next((kind for part, kind in GGUF_TYPES.items() if part in name), gguf.GGMLQuantizationType.F32)


@torch.no_grad()
def quantize_weights(model: Llama) -> None:
    """Replace each weight by what is left of it in its GGUF type."""
    for name, parameter in model.named_parameters():
        kind = gguf_type(name)
        packed = gguf.quants.quantize(parameter.detach().numpy().astype(np.float32), kind)
        parameter.copy_(torch.from_numpy(gguf.quants.dequantize(packed, kind).astype(np.float32)))


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k in GGUF's order: it rotates neighbouring pairs where Hugging Face rotates halves of a head."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf_fixture(folder: Path) -> None:
    """llama_tiny.gguf with a GPT-2 style tokenizer, and what it answers."""
    text = train_vocabulary(TINY_VOCABULARY, scenes=20)
    model, prompt, continuation = _llama_with_clear_answer(text.encode(PROMPT).ids, quantize_weights)
    writer = gguf.GGUFWriter(folder / "llama_tiny.gguf", "llama")
    writer.add_name("llama-tiny")
    writer.add_context_length(LLAMA.max_position_embeddings)
    writer.add_embedding_length(LLAMA.hidden_size)
    writer.add_block_count(LLAMA.num_hidden_layers)
    writer.add_feed_forward_length(LLAMA.intermediate_size)
    writer.add_head_count(LLAMA.num_attention_heads)
    writer.add_head_count_kv(LLAMA.num_key_value_heads)
    writer.add_rope_dimension_count(LLAMA.head_dim)
    writer.add_rope_freq_base(LLAMA.rope_theta)
    writer.add_layer_norm_rms_eps(LLAMA.rms_norm_eps)
    writer.add_vocab_size(LLAMA.vocab_size)
    _add_gguf_tokenizer(writer, json.loads(text.to_str()))
    for name, tensor in model.state_dict().items():
        _add_gguf_tensor(writer, name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    logits = llama_logits(model.double())(prompt)
    expected = {"ids": torch.tensor(prompt), "logits": logits, "greedy": torch.tensor(continuation)}
    save(folder / "llama_tiny_gguf.safetensors", expected)


def _add_gguf_tokenizer(writer: gguf.GGUFWriter, tokenizer: dict) -> None:
    vocabulary, special = tokenizer["model"]["vocab"], {t["content"] for t in tokenizer["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.get)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([control if t in special else normal for t in tokens])
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(vocabulary["<bos>"])
    writer.add_eos_token_id(vocabulary["<end>"])
    writer.add_add_bos_token(False)


def _add_gguf_tensor(writer: gguf.GGUFWriter, name: str, tensor: Tensor) -> None:
    weight, kind = tensor.numpy().astype(np.float32), gguf_type(name)
    for part, heads in (("q_proj", LLAMA.num_attention_heads), ("k_proj", LLAMA.num_key_value_heads)):
        if part in name:
            weight = interleaved(weight, heads)
    layer = name.removeprefix("model.layers.").split(".", 1)
    if name == "model.embed_tokens.weight":
        target = "token_embd.weight"
    elif name == "model.norm.weight":
        target = "output_norm.weight"
    else:
        target = f"blk.{layer[0]}.{GGUF_NAMES[layer[1].removesuffix('.weight')]}.weight"
    writer.add_tensor(target, gguf.quants.quantize(weight, kind), raw_dtype=kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES)
    folder = parser.parse_args().out
    write_setokim_fixtures(folder)
    write_llama_fixture(folder)
    write_gguf_fixture(folder)


if __name__ == "__main__":
    main()
