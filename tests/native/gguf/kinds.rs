//! GGUF files as the hub has them: what is no plain LLaMA is refused by what it is, what only looks odd is read.

use burn::tensor::Device;
use setokim::Result;
use setokim::formats::gguf::{Gguf, Value};
use setokim::kernels::quant_matmul::Activations;
use setokim::model::llm::Llama;
use setokim::text::Tokenizer;

use crate::common::gguf_file::{GgufFile, LLAMA};

fn load(bytes: &[u8]) -> Result<()> {
    let gguf = Gguf::parse(bytes)?;
    Tokenizer::from_gguf(&gguf)?.encode_document("where is the dog ?")?;
    Llama::from_gguf(&gguf, Activations::Exact, &Device::flex())?;
    Ok(())
}

fn load_changed(change: impl FnOnce(&mut GgufFile)) -> Result<()> {
    let mut file = GgufFile::read(LLAMA);
    change(&mut file);
    load(&file.write())
}

/// The error's code, and that it says `words` in message or remedy.
#[track_caller]
fn assert_refused(code: &str, words: &[&str], change: impl FnOnce(&mut GgufFile)) {
    let error = load_changed(change).expect_err("it was loaded");
    let said = format!("{error}. {}", error.remedy());
    assert_eq!(error.code(), code, "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

#[test]
fn what_was_written_again_is_the_same() {
    load_changed(|_| ()).expect("nothing was changed");
}

#[test]
fn usual_oddities_are_read() {
    let changes: [(&str, Value); 16] = [
        ("general.author", Value::Bytes(b"Ren\xe9".to_vec())),
        ("tokenizer.ggml.bos_token_id", Value::Unsigned(u32::MAX.into())),
        ("tokenizer.ggml.eot_token_id", Value::Signed(-1)),
        ("llama.rope.freq_base", Value::Unsigned(50_000)),
        ("llama.rope.scaling.type", text("none")),
        ("llama.rope.scaling.type", text("linear")),
        ("llama.rope.scaling.factor", Value::Float(1.0)),
        ("llama.rope.scaling.original_context_length", Value::Unsigned(64)),
        ("llama.expert_count", Value::Unsigned(0)),
        ("llama.attention.causal", Value::Bool(true)),
        ("llama.attention.value_length", Value::Unsigned(16)),
        ("llama.attention.sliding_window", Value::Unsigned(0)),
        ("llama.logit_scale", Value::Float(1.0)),
        ("llama.tensor_data_layout", text("Meta AI original pth")),
        ("tokenizer.chat_template", text("{{ messages }}")),
        ("split.count", Value::Unsigned(1)),
    ];
    for (key, value) in changes {
        load_changed(|file| file.set(key, value)).unwrap_or_else(|error| panic!("{key}: {error}"));
    }
    load_changed(|file| file.add("blk.0.attn_rot_embd", &[8])).expect("llama.cpp passes over it as well");
}

#[test]
fn settings_that_change_the_numbers_are_refused_by_name() {
    let changes: [(&str, Value, &str); 15] = [
        ("llama.rope.scaling.type", text("yarn"), "yarn"),
        ("llama.rope.scaling.factor", Value::Float(4.0), "linear"),
        ("llama.rope.scale_linear", Value::Float(2.0), "linear"),
        ("llama.rope.dimension_count", Value::Unsigned(8), "8 where a head has 16"),
        ("llama.rope.scaling.attn_factor", Value::Float(1.3), "rope.scaling.attn_factor"),
        ("llama.attention.sliding_window", Value::Unsigned(32), "not reach all positions"),
        ("llama.attention.causal", Value::Bool(false), "attention.causal"),
        ("llama.attention.scale", Value::Float(0.1), "attention.scale"),
        ("llama.attention.value_length", Value::Unsigned(8), "value_length"),
        ("llama.attention.head_count_kv", Value::Array(vec![Value::Unsigned(2), Value::Unsigned(4)]), "layer to layer"),
        ("llama.logit_scale", Value::Float(8.0), "logit_scale"),
        ("llama.embedding_scale", Value::Float(12.0), "embedding_scale"),
        ("llama.residual_scale", Value::Float(0.2), "multipliers"),
        ("llama.attention.clamp_kqv", Value::Float(8.0), "clamp_kqv"),
        ("llama.final_logit_softcapping", Value::Float(30.0), "soft caps"),
    ];
    for (key, value, words) in changes {
        assert_refused("unsupported", &[words], |file| file.set(key, value));
    }
}

#[test]
fn tensors_that_nothing_reads_are_refused_by_name() {
    for (name, about) in [
        ("blk.0.attn_q_norm.weight", "norms of queries and keys"),
        ("blk.1.attn_q.bias", "biases"),
        ("blk.0.post_attention_norm.weight", "norms at another place"),
        ("blk.0.ffn_gate_inp.weight", "MoE"),
        ("blk.2.attn_norm.weight", "blk.2.attn_norm.weight"),
        ("output_norm.bias", "biases"),
        ("rope_factors_long.weight", "rotary"),
        ("mm.0.weight", "mm.0.weight"),
    ] {
        assert_refused("unsupported", &[name, about], |file| file.add(name, &[16]));
    }
}

#[test]
fn other_uses_of_the_format_are_said() {
    let set = |key: &'static str, value: Value| move |file: &mut GgufFile| file.set(key, value);
    assert_refused("unsupported", &["2 parts", "part 1", "llama-gguf-split"], set("split.count", Value::Unsigned(2)));
    assert_refused("unsupported", &["LoRA", "Merge"], set("general.type", text("adapter")));
    assert_refused("unsupported", &["mmproj", "language model"], set("general.architecture", text("clip")));
    assert_refused("unsupported", &["8 experts", "MoE"], set("llama.expert_count", Value::Unsigned(8)));
    assert_refused("unsupported", &["`qwen2`", "docs/weights.md"], set("general.architecture", text("qwen2")));
}

#[test]
fn types_are_called_by_their_names() {
    for (number, name) in [(9, "Q8_1"), (16, "IQ2_XXS"), (21, "IQ3_S"), (34, "TQ1_0"), (39, "MXFP4")] {
        assert_refused("tensor-type", &["token_embd.weight", name, "Q4_K_M"], |file| {
            file.types.insert("token_embd.weight".into(), number);
        });
    }
    assert_refused("tensor-type", &["type 99"], |file| {
        file.types.insert("token_embd.weight".into(), 99);
    });
}

#[test]
fn other_vocabularies_are_called_by_their_names() {
    for pre in ["qwen2", "llama3", "llama-v3", "gpt-4o", "falcon3", "deepseek-llm"] {
        let words = [pre, "tokenizer.ggml.pre", "docs/weights.md"];
        assert_refused("unsupported", &words, |file| file.set("tokenizer.ggml.pre", text(pre)));
    }
    for (model, name) in [("llama", "SentencePiece"), ("bert", "WordPiece"), ("t5", "Unigram"), ("rwkv", "rwkv")] {
        assert_refused("unsupported", &[name], |file| file.set("tokenizer.ggml.model", text(model)));
    }
    assert_refused("unsupported", &["add_eos_token"], |file| {
        file.set("tokenizer.ggml.add_eos_token", Value::Bool(true));
    });
}

#[test]
fn a_token_that_is_needed_must_be_there() {
    assert_refused("tokenizer-invalid", &["add_bos_token"], |file| {
        file.set("tokenizer.ggml.add_bos_token", Value::Bool(true));
        file.set("tokenizer.ggml.bos_token_id", Value::Unsigned(u32::MAX.into()));
    });
    assert_refused("tokenizer-invalid", &["eos_token_id"], |file| {
        file.set("tokenizer.ggml.eos_token_id", Value::Unsigned(9999));
    });
    assert_refused("gguf-invalid", &["general.architecture", "UTF-8"], |file| {
        file.set("general.architecture", Value::Bytes(b"\xff".to_vec()));
    });
}

#[test]
fn weights_that_are_no_numbers_are_refused_by_name() {
    for name in ["output_norm.weight", "blk.0.attn_q.weight", "blk.0.attn_v.weight"] {
        assert_refused("not-finite", &[name], |file| {
            let tensor = file.tensors.get_mut(name).expect("in the fixture");
            // A NaN as f32, as f16 and as the first scale of a block.
            let end = tensor.bytes.len().min(4);
            tensor.bytes.to_mut()[..end].copy_from_slice(&[0x00, 0xfe, 0xc0, 0x7f][..end]);
        });
    }
}

#[test]
fn what_is_no_gguf_is_called_what_it_is() {
    for (start, found, help) in [
        (&b"<!DOCTYPE html><html>"[..], "web page", "/resolve/"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS", "git lfs pull"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "gzip", "Unpack"),
        (b"PK\x03\x04", "ZIP", "safetensors"),
    ] {
        let error = load(&[start, &[b' '; 600]].concat()).expect_err("no GGUF");
        assert_eq!(error.code(), "gguf-invalid");
        assert!(error.to_string().contains(found) && error.remedy().contains(help), "{error}: {}", error.remedy());
    }
}
