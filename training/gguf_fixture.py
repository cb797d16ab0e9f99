"""Writes the GGUF fixtures of tests/gguf.rs and tests/llm.rs, with what they must give.

    python training/gguf_fixture.py

- tests/fixtures/tiny.gguf: a LLaMA of two layers with seeded random weights, in which every supported tensor type is
  used, and tiny_gguf_logits.safetensors: its logits by a plain NumPy forward in float64 on the dequantised weights.
- tests/fixtures/vocab_*.gguf: vocabularies without weights, one for every way of cutting text before the merges, and
  gguf_tokens.json: how llama.cpp encodes some texts with them.

Needs: numpy, gguf, safetensors, tokenizers, llama-cpp-python.
"""

import json
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from safetensors.numpy import save_file

FIXTURES = Path(__file__).resolve().parent.parent / "tests" / "fixtures"

HIDDEN, INNER, LAYERS, HEADS, KV_HEADS, CONTEXT = 64, 96, 2, 4, 2, 64
HEAD_DIM = HIDDEN // HEADS
ROPE_THETA, EPS = 10000.0, 1e-5
PROMPT = "It's 2024: the café"
GREEDY_TOKENS = 16

CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
USER_DEFINED = ["<tool>"]
FAMILIES = ["default", "gpt-2", "smollm", "llama-bpe"]
TEXTS = [
    PROMPT,
    "Hello world, hello   worlds!\n\n  The end.  ",
    "I'm sure they'll've SAID it's 1234567 times, isn't it?\tYES'S",
    "x=3+4; if (a<b) { return $x->y ~ 'z'; }",
    "日本語 and naïve Ünïcode 😀👍🏽 \u00a0 space",
    "<|im_start|>user\n<|im_end|><tool> [Img]",
    "\r\nline\r\n\r\nline ١٢٣ ½ ²",
]


def train_vocabulary():
    """Byte-level tokens and merges learned from this file, so that there are merges of every sort."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=380, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(Path(__file__).read_text().splitlines(keepends=True) + TEXTS * 3, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [" ".join(merge) for merge in model["merges"]]
    return CONTROLS + tokens + USER_DEFINED, merges


def write_vocabulary(writer, tokens, merges, family):
    types = {
        **dict.fromkeys(CONTROLS, gguf.TokenType.CONTROL),
        **dict.fromkeys(USER_DEFINED, gguf.TokenType.USER_DEFINED),
    }
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(family)
    writer.add_token_list(tokens)
    writer.add_token_types([types.get(token, gguf.TokenType.NORMAL) for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(family == "llama-bpe")


def close(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def random_weights(vocabulary):
    """Hugging Face names, [out, in]; the type each is stored in is chosen so that all types meet."""
    random = np.random.default_rng(20241)
    kinds = [Kind.Q4_0, Kind.Q4_1, Kind.F16, Kind.F32, Kind.Q8_0, Kind.BF16, Kind.Q4_1]

    def matrix(rows, columns):
        return (random.standard_normal((rows, columns)) * 1.8 / np.sqrt(columns)).astype(np.float32)

    weights = {
        "model.embed_tokens.weight": (
            (random.standard_normal((vocabulary, HIDDEN)) * 0.15).astype(np.float32),
            Kind.Q8_0,
        )
    }
    for layer in range(LAYERS):
        shapes = {
            "self_attn.q_proj": (HIDDEN, HIDDEN),
            "self_attn.k_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
            "self_attn.v_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
            "self_attn.o_proj": (HIDDEN, HIDDEN),
            "mlp.gate_proj": (INNER, HIDDEN),
            "mlp.up_proj": (INNER, HIDDEN),
            "mlp.down_proj": (HIDDEN, INNER),
        }
        for i, (name, shape) in enumerate(shapes.items()):
            weights[f"model.layers.{layer}.{name}.weight"] = (matrix(*shape), kinds[(i + 3 * layer) % len(kinds)])
        for name in ["input_layernorm", "post_attention_layernorm"]:
            norm = 1 + 0.2 * random.standard_normal(HIDDEN).astype(np.float32)
            weights[f"model.layers.{layer}.{name}.weight"] = (norm, Kind.F32)
    weights["model.norm.weight"] = (1 + 0.2 * random.standard_normal(HIDDEN).astype(np.float32), Kind.F32)
    return weights


def neighbours(weight, heads):
    """The order of rows that llama.cpp's converter gives query and key heads."""
    return weight.reshape(heads, 2, -1, weight.shape[-1]).swapaxes(1, 2).reshape(weight.shape)


def rotate_half_order(weight, heads):
    return weight.reshape(heads, -1, 2, weight.shape[-1]).swapaxes(1, 2).reshape(weight.shape)


def gguf_name(name):
    outside = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in outside:
        return outside[name]
    _, _, layer, inside = name.split(".", 3)
    names = {
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
    return f"blk.{layer}.{names[inside.removesuffix('.weight')]}.weight"


def heads_of(name):
    return HEADS if "q_proj" in name else KV_HEADS if "k_proj" in name else None


def write_model(path, tokens, merges, weights):
    """Returns the weights as the file has them, dequantised, float64, under Hugging Face names and order."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(EPS)
    writer.add_rope_freq_base(ROPE_THETA)
    writer.add_rope_dimension_count(HEAD_DIM)
    write_vocabulary(writer, tokens, merges, "smollm")
    stored = {}
    for name, (weight, kind) in weights.items():
        heads = heads_of(name)
        ordered = neighbours(weight, heads) if heads else weight
        data = gguf.quants.quantize(ordered, kind)
        writer.add_tensor(gguf_name(name), data, raw_dtype=kind)
        weight = gguf.quants.dequantize(data, kind).reshape(weight.shape).astype(np.float64)
        stored[name] = rotate_half_order(weight, heads) if heads else weight
    close(writer)
    return stored


def rms_norm(x, weight):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * weight


def rotate(x):
    """[T, heads, HEAD_DIM], pairs (i, i + HEAD_DIM / 2)."""
    half = HEAD_DIM // 2
    angles = np.arange(len(x))[:, None, None] * ROPE_THETA ** (-np.arange(half) / half)
    first, second = x[..., :half], x[..., half:]
    return np.concatenate(
        [first * np.cos(angles) - second * np.sin(angles), second * np.cos(angles) + first * np.sin(angles)], -1
    )


def forward(weights, ids):
    """Logits [T, vocabulary] of the whole sequence at once."""
    x = weights["model.embed_tokens.weight"][ids]
    count = len(ids)
    later = np.triu(np.full((count, count), -np.inf), 1)
    for layer in range(LAYERS):
        w = {
            name.split(".", 3)[3]: value for name, value in weights.items() if name.startswith(f"model.layers.{layer}.")
        }
        n = rms_norm(x, w["input_layernorm.weight"])
        q = rotate((n @ w["self_attn.q_proj.weight"].T).reshape(count, HEADS, HEAD_DIM))
        k = rotate((n @ w["self_attn.k_proj.weight"].T).reshape(count, KV_HEADS, HEAD_DIM))
        v = (n @ w["self_attn.v_proj.weight"].T).reshape(count, KV_HEADS, HEAD_DIM)
        mixed = np.empty((count, HEADS, HEAD_DIM))
        for head in range(HEADS):
            shared = head // (HEADS // KV_HEADS)
            scores = q[:, head] @ k[:, shared].T / np.sqrt(HEAD_DIM) + later
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            mixed[:, head] = scores / scores.sum(-1, keepdims=True) @ v[:, shared]
        x = x + mixed.reshape(count, HIDDEN) @ w["self_attn.o_proj.weight"].T
        n = rms_norm(x, w["post_attention_layernorm.weight"])
        gate = n @ w["mlp.gate_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (n @ w["mlp.up_proj.weight"].T)) @ w["mlp.down_proj.weight"].T
    return rms_norm(x, weights["model.norm.weight"]) @ weights["model.embed_tokens.weight"].T


def llama_cpp_tokens(path, texts):
    import llama_cpp

    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    return [model.tokenize(text.encode(), add_bos=False, special=False) for text in texts]


def main():
    FIXTURES.mkdir(parents=True, exist_ok=True)
    tokens, merges = train_vocabulary()

    expected = {}
    for family in FAMILIES:
        path = FIXTURES / f"vocab_{family}.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        write_vocabulary(writer, tokens, merges, family)
        close(writer)
        expected[family] = llama_cpp_tokens(path, TEXTS)
    (FIXTURES / "gguf_tokens.json").write_text(json.dumps({"texts": TEXTS, "ids": expected}, ensure_ascii=False) + "\n")

    path = FIXTURES / "tiny.gguf"
    weights = write_model(path, tokens, merges, random_weights(len(tokens)))
    prompt_ids = expected["smollm"][TEXTS.index(PROMPT)]
    ids = list(prompt_ids)
    for _ in range(GREEDY_TOKENS):
        last = np.sort(forward(weights, ids)[-1])
        assert last[-1] - last[-2] > 1e-2, "two best logits too close: choose another seed"
        ids.append(int(forward(weights, ids)[-1].argmax()))
    logits = forward(weights, ids).astype(np.float32)
    save_file(
        {"ids": np.array(ids, np.int32), "prompt": np.array(prompt_ids, np.int32), "logits": logits},
        FIXTURES / "tiny_gguf_logits.safetensors",
    )
    for written in sorted(FIXTURES.glob("*gguf*")):
        print(f"{written.name}: {written.stat().st_size:,} bytes")
    print("prompt", prompt_ids, "greedy", ids[len(prompt_ids) :])


if __name__ == "__main__":
    main()
