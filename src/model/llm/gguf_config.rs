//! The sizes of a model out of a GGUF file's metadata. What changes the numbers and is not known here is refused.

use std::collections::BTreeSet;

use super::config::LlamaConfig;
use super::gguf_source::{gguf_name, weight_names};
use crate::formats::gguf::{Gguf, Value};
use crate::model::foreign::{OTHER_MODEL, is_off, not_known, not_read};
use crate::{Error, Result};

const PREFIX: &str = "llama.";

/// Keys after [`PREFIX`] that are read below.
const READ: [&str; 14] = [
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "block_count",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.freq_base",
    "rope.dimension_count",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scale_linear",
];

/// Keys that change nothing as long as those above are as they must be.
const HARMLESS: [&str; 7] = [
    "vocab_size",
    "tensor_data_layout",
    "attention.layer_norm_epsilon",
    "expert_count",
    "expert_used_count",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
];

impl LlamaConfig {
    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    /// [`Error::Gguf`] and [`Error::Config`] for what is missing or cannot be; [`Error::NotSupported`] for another
    /// architecture, a setting that is not known, and a tensor that nothing would read.
    pub fn from_gguf(gguf: &Gguf<'_>) -> Result<Self> {
        let architecture = gguf.optional_string("general.architecture")?.unwrap_or("unknown");
        if architecture != "llama" {
            return Err(Error::not_supported(format!("the architecture `{architecture}`"), OTHER_MODEL));
        }
        check_settings(gguf)?;
        check_rope(gguf)?;
        let embedding = gguf.tensors().get("token_embd.weight");
        let embedding = embedding.ok_or_else(|| Error::TensorMissing("token_embd.weight".into()))?;
        let size = |key: &str| gguf.optional_size(&format!("{PREFIX}{key}"));
        let float = |key: &str| gguf.optional_float(&format!("{PREFIX}{key}"));
        let config = Self {
            // The table is what is looked up; the tokenizer is held against it when it is loaded.
            vocab_size: embedding.shape.first().copied().unwrap_or(0),
            hidden_size: gguf.size("llama.embedding_length")?,
            intermediate_size: gguf.size("llama.feed_forward_length")?,
            num_hidden_layers: gguf.size("llama.block_count")?,
            num_attention_heads: gguf.size("llama.attention.head_count")?,
            num_key_value_heads: size("attention.head_count_kv")?.unwrap_or(0),
            head_dim: size("attention.key_length")?.unwrap_or(0),
            rms_norm_eps: float("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
            rope_theta: float("rope.freq_base")?.unwrap_or(10_000.0),
            max_position_embeddings: gguf.size("llama.context_length")?,
            tie_word_embeddings: !gguf.tensors().contains_key("output.weight"),
            rope_scaling: None,
            hidden_act: "silu".into(),
            attention_bias: false,
            mlp_bias: false,
        };
        let config = config.completed().checked()?;
        for key in ["attention.value_length", "rope.dimension_count"] {
            if let Some(other) = size(key)?.filter(|size| *size != config.head_dim) {
                return Err(not_known(
                    &format!("{PREFIX}{key}"),
                    &format!("{other} where a head has {}", config.head_dim),
                ));
            }
        }
        check_tensors(gguf, &config)?;
        Ok(config)
    }
}

fn check_settings(gguf: &Gguf<'_>) -> Result<()> {
    for (key, value) in gguf.metadata() {
        let Some(setting) = key.strip_prefix(PREFIX) else { continue };
        if let (true, Value::Array(_)) = (READ.contains(&setting), value) {
            let what = format!("`{key}` that differs from layer to layer");
            return Err(Error::not_supported(what, OTHER_MODEL));
        }
        let plain = plain_json(value);
        if !READ.contains(&setting) && !HARMLESS.contains(&setting) && !is_off(setting, &plain) {
            return Err(not_known(key, &plain.to_string()));
        }
    }
    Ok(())
}

/// As llama.cpp goes by it: a factor without a type is linear, and `none` makes any factor void.
fn check_rope(gguf: &Gguf<'_>) -> Result<()> {
    let kind = gguf.optional_string("llama.rope.scaling.type")?;
    let mut factor = None;
    for key in ["llama.rope.scaling.factor", "llama.rope.scale_linear"] {
        factor = factor.or(gguf.optional_float(key)?.filter(|factor| *factor != 0.0 && *factor != 1.0));
    }
    match (kind, factor) {
        (Some("none"), _) | (None | Some("linear"), None) => Ok(()),
        (kind, _) => {
            let what = format!("rotary scaling of type `{}`", kind.unwrap_or("linear"));
            Err(Error::not_supported(what, "Take a model with plain rotary positions, or with those of LLaMA 3."))
        }
    }
}

/// Refuses a tensor that nothing would multiply with: it is there because the model needs it.
fn check_tensors(gguf: &Gguf<'_>, config: &LlamaConfig) -> Result<()> {
    // A file has a tensor of at most so many names for each layer; a config may claim any number of layers.
    let layers = config.num_hidden_layers.min(gguf.tensors().len());
    let read = weight_names(&LlamaConfig { num_hidden_layers: layers, ..config.clone() });
    let read: BTreeSet<String> = read.iter().filter_map(|name| gguf_name(name)).collect();
    let is_read = |name: &str| read.contains(name) || name == "rope_freqs.weight";
    // The speeds of the rotation, which old converters wrote beside each layer.
    let is_void = |name: &str| name.ends_with(".attn_rot_embd") || name.ends_with(".attn_rot_embd.weight");
    match gguf.tensors().keys().find(|name| !is_read(name) && !is_void(name)) {
        Some(name) => Err(not_read(name)),
        None => Ok(()),
    }
}

/// A value for [`is_off`] and for messages.
fn plain_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Unsigned(number) => (*number).into(),
        Value::Signed(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Bool(flag) => (*flag).into(),
        Value::String(text) => text.as_str().into(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
        Value::Array(values) => values.iter().map(plain_json).collect(),
    }
}
