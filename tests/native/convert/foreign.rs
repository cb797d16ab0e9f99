//! Hugging Face folders of all kinds: what is computed otherwise than here is refused by its name, never dropped.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde_json::{Value, json};
use setokim::convert::{SourceOptions, open_source};
use setokim::image::Image;
use setokim::model::llm::LlamaConfig;
use setokim::model::setokim::Setokim;
use setokim::{Error, Result};
use tempfile::TempDir;

use super::{LLAMA, SIGLIP};
use crate::common::cpu;

/// Type, shape and bytes of a tensor.
type Stored<'a> = (Dtype, Vec<usize>, Cow<'a, [u8]>);

/// A copy of a folder with other settings and more tensors.
fn copy(source: &str, settings: &Value, tensors: &[(&str, Vec<usize>, f32)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let read = |name: &str| std::fs::read(Path::new(source).join(name)).expect("the fixture");
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("written");
    let mut config: Value = serde_json::from_slice(&read("config.json")).expect("JSON");
    for (key, value) in settings.as_object().expect("settings") {
        match key.strip_prefix("vision_config.") {
            Some(inner) => config["vision_config"][inner] = value.clone(),
            None => config[key] = value.clone(),
        }
    }
    write("config.json", config.to_string().as_bytes());
    if source == LLAMA {
        write("tokenizer.json", &read("tokenizer.json"));
    }
    let file = read("model.safetensors");
    let file = SafeTensors::deserialize(&file).expect("sound");
    let mut all: BTreeMap<String, Stored<'_>> = BTreeMap::new();
    for (name, tensor) in file.iter() {
        all.insert(name.into(), (tensor.dtype(), tensor.shape().to_vec(), Cow::Borrowed(tensor.data())));
    }
    for (name, shape, value) in tensors {
        let bytes: Vec<u8> = std::iter::repeat_n(value.to_le_bytes(), shape.iter().product()).flatten().collect();
        all.insert((*name).into(), (Dtype::F32, shape.clone(), Cow::Owned(bytes)));
    }
    let views = all.iter().map(|(name, (dtype, shape, bytes))| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).expect("bytes fill the shape"))
    });
    write("model.safetensors", &serialize(views, None).expect("written"));
    folder
}

fn convert_llama(settings: &Value, tensors: &[(&str, Vec<usize>, f32)]) -> Result<LlamaConfig> {
    let folder = copy(LLAMA, settings, tensors);
    let options = SourceOptions { language: Some(folder.path().into()), ..SourceOptions::default() };
    let draft = open_source(Path::new(SIGLIP), options)?;
    let config: Value = serde_json::from_str(&draft.config).expect("JSON");
    LlamaConfig::from_json(&config["llm"].to_string())
}

#[track_caller]
fn assert_refused<T>(result: Result<T>, code: &str, words: &[&str]) {
    let Err(error) = result else { panic!("it was taken; {words:?} were to be refused") };
    let said = format!("{error}. {}", error.remedy());
    assert_eq!(error.code(), code, "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

#[test]
fn usual_settings_are_taken() {
    let plain = convert_llama(&json!({}), &[]).expect("the fixture");
    for settings in [
        json!({ "head_dim": null, "rope_scaling": null, "sliding_window": null, "quantization_config": null }),
        json!({ "rope_scaling": { "rope_type": "default" } }),
        json!({ "rope_theta": null, "rope_parameters": { "rope_type": "default", "rope_theta": 50000 } }),
        json!({ "rope_parameters": { "full_attention": { "rope_type": "default", "rope_theta": 50000.0 } } }),
        json!({ "rope_scaling": { "type": "linear", "factor": 1.0 }, "partial_rotary_factor": 1.0 }),
        json!({ "layer_types": ["full_attention", "full_attention"], "no_rope_layers": [1, 1] }),
        json!({ "sliding_window": 4096, "use_sliding_window": false, "max_window_layers": 28 }),
        json!({ "sliding_window": 128 }),
        json!({ "hidden_act": "swish", "bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": -1 }),
        json!({ "torch_dtype": "bfloat16", "transformers_version": "4.57", "use_cache": true, "pretraining_tp": 1 }),
        json!({ "rope_interleaved": false, "unsloth_version": "2026.1", "_name_or_path": "x", "num_experts": 0 }),
        json!({ "embedding_multiplier": 1.0, "id2label": { "0": "LABEL_0" }, "attention_dropout": 0.1 }),
    ] {
        let config = convert_llama(&settings, &[]).unwrap_or_else(|error| panic!("{settings}: {error}"));
        assert_eq!(config, plain, "{settings}");
    }
    let unsaid = convert_llama(&json!({ "num_key_value_heads": null }), &[]).expect("the weights say it");
    assert_eq!(unsaid, plain);
}

#[test]
fn llama_3s_rope_is_taken_in_both_spellings() {
    let inner = json!({ "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64 });
    let with = |key: &str, value: &str| {
        let mut inner = inner.clone();
        inner[key] = value.into();
        inner
    };
    let mut new = with("rope_type", "llama3");
    new["rope_theta"] = 50000.0.into();
    let old = convert_llama(&json!({ "rope_scaling": with("rope_type", "llama3") }), &[]).expect("transformers 4");
    let oldest = convert_llama(&json!({ "rope_scaling": with("type", "llama3") }), &[]).expect("transformers 4.43");
    let new = convert_llama(&json!({ "rope_theta": null, "rope_parameters": new }), &[]).expect("transformers 5");
    assert_eq!(old.rope_scaling.as_ref().map(|scaling| scaling.factor), Some(8.0));
    assert_eq!((&old, &old), (&oldest, &new));
}

#[test]
fn settings_that_change_the_numbers_are_refused_by_name() {
    for (settings, words) in [
        (json!({ "model_type": "qwen3" }), "`qwen3`"),
        (json!({ "model_type": "mistral", "sliding_window": null }), "`mistral`"),
        (json!({ "architectures": ["LlamaForSequenceClassification"] }), "LlamaForSequenceClassification"),
        (json!({ "rope_scaling": { "type": "dynamic", "factor": 2.0 } }), "dynamic"),
        (json!({ "rope_scaling": { "rope_type": "yarn", "factor": 4.0 } }), "yarn"),
        (json!({ "rope_scaling": { "type": "linear", "factor": 4.0 } }), "linear"),
        (json!({ "rope_parameters": { "rope_type": "longrope", "long_factor": [1.0] } }), "longrope"),
        (
            json!({ "rope_parameters": { "rope_type": "default", "partial_rotary_factor": 0.5 } }),
            "partial_rotary_factor",
        ),
        (
            json!({ "rope_parameters": { "full_attention": { "rope_theta": 1e6 }, "sliding_attention": { "rope_theta": 1e4 } } }),
            "layer to layer",
        ),
        (json!({ "partial_rotary_factor": 0.5 }), "rotary"),
        (json!({ "rotary_pct": 0.25 }), "rotary_pct"),
        (json!({ "rope_interleaved": true }), "rope_interleaved"),
        (json!({ "no_rope_layers": [1, 0] }), "no_rope_layers"),
        (json!({ "no_rope_layer_interval": 4 }), "no_rope_layer_interval"),
        (json!({ "sliding_window": 32 }), "sliding_window"),
        (json!({ "layer_types": ["full_attention", "sliding_attention"] }), "layer_types"),
        (json!({ "embedding_multiplier": 12.0 }), "embedding_multiplier"),
        (json!({ "attention_multiplier": 1.0 }), "attention_multiplier"),
        (json!({ "residual_multiplier": 0.22 }), "multipliers"),
        (json!({ "residual_multiplier": 0.0 }), "residual_multiplier"),
        (json!({ "logits_scaling": 8.0 }), "logits_scaling"),
        (json!({ "final_logit_softcapping": 30.0 }), "soft caps"),
        (json!({ "num_local_experts": 8 }), "MoE"),
        (json!({ "use_qk_norm": true }), "norms"),
        (json!({ "attention_bias": true }), "biases"),
        (json!({ "mlp_bias": true }), "biases"),
        (json!({ "is_causal": false }), "not causal"),
        (json!({ "qkv_bias": true }), "biases"),
        (json!({ "hidden_act": "gelu" }), "`gelu`"),
        (json!({ "num_key_value_heads": [2, 4] }), "layer to layer"),
        (json!({ "quantization_config": { "quant_method": "gptq", "bits": 4 } }), "packed by another program"),
        (json!({ "auto_map": { "AutoModel": "modeling_x.X" } }), "code of its own"),
        (json!({ "something_new": 3 }), "something_new"),
    ] {
        assert_refused(convert_llama(&settings, &[]), "unsupported", &[words, "Take a model"]);
    }
    let twice = json!({ "rope_parameters": { "rope_theta": 10000.0 } });
    assert_refused(convert_llama(&twice, &[]), "config-invalid", &["50000", "10000"]);
    let untyped = json!({ "rope_scaling": { "factor": 2.0 } });
    assert_refused(convert_llama(&untyped, &[]), "config-invalid", &["rope_type"]);
}

#[test]
fn tensors_that_nothing_reads_are_refused_by_name() {
    for (name, about) in [
        ("model.layers.0.self_attn.q_norm.weight", "norms of queries and keys"),
        ("model.layers.1.self_attn.q_proj.bias", "biases"),
        ("model.layers.0.mlp.experts.0.w1.weight", "MoE"),
        ("model.layers.0.post_feedforward_layernorm.weight", "norms at another place"),
        ("model.layers.2.input_layernorm.weight", "model.layers.2"),
        ("model.layers.0.self_attn.q_proj.lora_A.weight", "adapter"),
        ("model.layers.0.self_attn.q_proj.weight_scale", "packed by another program"),
        ("lm_head.weight", "share"),
        ("score.weight", "score.weight"),
    ] {
        assert_refused(convert_llama(&json!({}), &[(name, vec![4], 1.0)]), "unsupported", &[name, about]);
    }
    // Nothing is lost with these.
    convert_llama(&json!({}), &[("model.layers.0.self_attn.rotary_emb.inv_freq", vec![8], 1.0)]).expect("old folders");
    convert_llama(&json!({}), &[("model.layers.0.self_attn.q_norm.weight", vec![0], 1.0)]).expect("no values");
}

#[test]
fn a_vocabulary_with_more_tokens_than_embeddings_is_refused() {
    let folder = copy(LLAMA, &json!({}), &[]);
    let path = folder.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(&path).expect("copied")).expect("JSON");
    let token = json!({ "id": 320, "content": "<new>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false });
    tokenizer["added_tokens"].as_array_mut().expect("a list").push(token);
    std::fs::write(&path, tokenizer.to_string()).expect("written");
    let options = SourceOptions { language: Some(folder.path().into()), ..SourceOptions::default() };
    assert_refused(open_source(Path::new(SIGLIP), options), "tokenizer-invalid", &["321", "320"]);
}

// --- towers

async fn open_siglip(
    settings: &Value,
    tensors: &[(&str, Vec<usize>, f32)],
    preprocessor: Option<&Value>,
) -> Result<()> {
    let folder = copy(SIGLIP, settings, tensors);
    if let Some(preprocessor) = preprocessor {
        std::fs::write(folder.path().join("preprocessor_config.json"), preprocessor.to_string()).expect("written");
    }
    let converted = open_source(folder.path(), SourceOptions::default()).map(drop).map_err(|error| error.to_string());
    let opened = Setokim::open(folder.path(), cpu().await, |_| ());
    if !matches!(&opened, Err(Error::WeightNotFinite { .. } | Error::TensorShape { .. })) {
        let opened = opened.as_ref().map(|_| ()).map_err(ToString::to_string);
        assert_eq!(converted, opened, "both read the same folders");
    }
    let image = Image::from_rgb(vec![90; 32 * 32 * 3], 32, 32)?;
    opened?.tokenize(&image).await.map(drop)
}

#[tokio::test]
async fn towers_that_compute_otherwise_are_refused_by_name() {
    for (settings, words) in [
        (json!({ "model_type": "clip" }), "`clip`"),
        (json!({ "model_type": "siglip2", "vision_config.model_type": "siglip2_vision_model" }), "`siglip2`"),
        (json!({ "vision_config.model_type": "clip_vision_model" }), "clip_vision_model"),
        (json!({ "vision_config.hidden_act": "quick_gelu" }), "quick_gelu"),
        (json!({ "vision_config.num_channels": 4 }), "num_channels"),
        (json!({ "vision_config.num_patches": 256 }), "num_patches"),
        (json!({ "vision_config.qkv_bias": true }), "qkv_bias"),
    ] {
        assert_refused(open_siglip(&settings, &[], None).await, "unsupported", &[words]);
    }
    for name in ["vision_model.encoder.layers.0.self_attn.q_norm.weight", "vision_model.embeddings.class_embedding"] {
        assert_refused(open_siglip(&json!({}), &[(name, vec![16], 1.0)], None).await, "unsupported", &[name]);
    }
    let usual = [
        ("text_model.encoder.layers.0.mlp.fc1.weight", vec![4, 4], 1.0),
        ("logit_scale", vec![1], f32::NAN),
        ("vision_model.head.probe", vec![1, 1, 32], 1.0),
        ("vision_model.post_layernorm.bias", vec![32], 1.0),
        ("vision_model.encoder.layers.1.self_attn.q_norm.weight", vec![0], 1.0),
    ];
    open_siglip(&json!({ "vision_config.attention_dropout": null }), &usual, None).await.expect("as published");
}

#[tokio::test]
async fn a_tower_with_weights_that_are_no_numbers_is_refused_by_name() {
    for value in [f32::NAN, f32::INFINITY] {
        for (name, shape) in [
            ("vision_model.encoder.layers.0.layer_norm1.weight", vec![32]),
            ("vision_model.embeddings.patch_embedding.weight", vec![32, 3, 8, 8]),
        ] {
            let result = open_siglip(&json!({}), &[(name, shape, value)], None).await;
            assert_refused(result, "not-finite", &[name]);
        }
    }
}

#[tokio::test]
async fn pictures_that_are_read_otherwise_are_refused_by_name() {
    let published = json!({
        "do_convert_rgb": null, "do_normalize": true, "do_rescale": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "SiglipImageProcessor", "image_std": [0.5, 0.5, 0.5], "processor_class": "SiglipProcessor",
        "resample": 3, "rescale_factor": 0.00392156862745098, "size": { "height": 32, "width": 32 }
    });
    open_siglip(&json!({}), &[], Some(&published)).await.expect("as published");
    for (key, value) in [
        ("image_mean", json!([0.48145466, 0.4578275, 0.40821073])),
        ("image_std", json!([0.5, 0.5, 0.25])),
        ("rescale_factor", json!(1.0)),
        ("do_normalize", json!(false)),
        ("do_center_crop", json!(true)),
        ("size", json!({ "shortest_edge": 32 })),
        ("size", json!({ "height": 64, "width": 64 })),
        ("resample", json!(0)),
        ("image_processor_type", json!("CLIPImageProcessor")),
    ] {
        let mut changed = published.clone();
        changed[key] = value;
        assert_refused(open_siglip(&json!({}), &[], Some(&changed)).await, "unsupported", &[key]);
    }
}

#[test]
fn what_is_no_model_is_called_what_it_is() {
    for (name, bytes, code, found) in [
        ("config.json", &b"<!doctype html>"[..], "config-invalid", "web page"),
        ("config.json", b"\x1f\x8b\x08\0", "config-invalid", "gzip"),
        ("tokenizer.json", b"version https://git-lfs.github.com/spec/v1", "tokenizer-invalid", "Git LFS"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "shard-corrupt", "Git LFS"),
        ("model.safetensors", b"\x1f\x8b\x08\0\0\0\0\0\0", "shard-corrupt", "gzip"),
        ("model.safetensors", b"<html><body>Sign in</body></html>", "shard-corrupt", "web page"),
        ("model.safetensors", b"GGUF\x03\0\0\0\0\0\0\0", "shard-corrupt", "GGUF"),
    ] {
        let folder = copy(LLAMA, &json!({}), &[]);
        std::fs::write(folder.path().join(name), bytes).expect("written");
        let options = SourceOptions { language: Some(folder.path().into()), ..SourceOptions::default() };
        assert_refused(open_source(Path::new(SIGLIP), options), code, &[found]);
    }
}
