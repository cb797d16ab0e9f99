//! Settings of other programs' models. A setting that changes what is computed and is not known here is refused by its
//! name: dropping it would give wrong numbers without a word.

use serde_json::{Map, Value};

use crate::{Error, Result};

/// What helps against most of it.
pub(crate) const OTHER_MODEL: &str = "Take a model of a kind that docs/weights.md lists.";

/// Of programs and people, training and the drawing of tokens: nothing here changes what a layer computes.
const HARMLESS: &[&str] = &[
    "architectures",
    "attention_dropout",
    "attn_implementation",
    "bad_words_ids",
    "begin_suppress_tokens",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "is_decoder",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "length_penalty",
    "max_length",
    "max_sequence_length",
    "min_length",
    "model_max_length",
    "model_type",
    "name",
    "neftune_noise_alpha",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "original_max_position_embeddings",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "projection_dim",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "seq_length",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
    "vision_use_head",
];

/// Endings of harmless keys.
const HARMLESS_ENDINGS: [&str; 5] = ["_token", "_token_id", "_token_ids", "_version", "_index"];

/// What keys with these words in them are about, in the order in which they are looked for.
const MEANINGS: [(&[&str], &str); 13] = [
    (&["quantization", "compression"], "weights packed by another program"),
    (&["expert", "moe", "router"], "a mixture of experts, MoE"),
    (&["sliding", "window", "layer_types", "chunk", "attn_type"], "attention that does not reach all positions"),
    (&["rope", "rotary"], "another form of rotary positions"),
    (&["softcap"], "soft caps"),
    (&["multiplier", "scal"], "multipliers between the layers"),
    (&["bias"], "biases"),
    (&["norm"], "other norms"),
    (&["act"], "another activation"),
    (&["causal", "decoder", "cross_attention"], "attention that is not causal"),
    (&["auto_map"], "code of its own"),
    (&["lora", "adapter", "peft"], "an adapter"),
    (&["do_", "crop", "resize", "num_channels"], "another way to read a picture"),
];

/// The settings of a `config.json` as this library reads them: without nulls, which stand for what is usual.
///
/// # Errors
/// [`Error::Config`] for what is no object; [`Error::NotSupported`] for the first key that is neither in `read` nor known
/// to be harmless, and that is not switched off.
pub(crate) fn known_settings(value: Value, read: &[&str]) -> Result<Map<String, Value>> {
    let Value::Object(mut settings) = value else { return Err(Error::Config("it is not an object".into())) };
    settings.retain(|_, value| !value.is_null());
    for (key, value) in &settings {
        if !read.contains(&key.as_str()) && !is_harmless(key) && !is_off(key, value) {
            return Err(not_known(key, &value.to_string()));
        }
    }
    settings.retain(|key, _| read.contains(&key.as_str()));
    Ok(settings)
}

/// The error for a setting or a tensor with a value that is not known here.
pub(crate) fn not_known(key: &str, value: &str) -> Error {
    let shown: String = value.chars().take(60).collect();
    let dots = if shown.len() < value.len() { "..." } else { "" };
    Error::not_supported(format!("`{key}` = {shown}{dots} ({})", meaning(key)), OTHER_MODEL)
}

/// The error for a tensor of a layer that nothing here multiplies with.
pub(crate) fn not_read(tensor: &str) -> Error {
    const TENSORS: [(&[&str], &str); 9] = [
        (&["lora"], "an adapter"),
        (&["q_norm", "k_norm", "q_layernorm", "k_layernorm", "qk_norm"], "norms of queries and keys"),
        (&["exps", "expert", "gate_inp", "moe", "shexp"], "a mixture of experts, MoE"),
        (
            &["qweight", "qzeros", "g_idx", "absmax", "quant", "weight_scale", "scales"],
            "weights packed by another program",
        ),
        (&["rope", "rot_embd"], "another form of rotary positions"),
        (&[".bias"], "biases"),
        (&["norm"], "norms at another place"),
        (&["qkv", "gate_up"], "several weights in one"),
        (&["lm_head"], "a head beside the embeddings that it is said to share"),
    ];
    let about = TENSORS.iter().find(|(words, _)| words.iter().any(|word| tensor.contains(word)));
    let about = about.map_or("a part that is not known", |(_, about)| about);
    Error::not_supported(format!("the tensor `{tensor}` ({about})"), OTHER_MODEL)
}

fn meaning(key: &str) -> &'static str {
    let found = MEANINGS.iter().find(|(words, _)| words.iter().any(|word| key.contains(word)));
    found.map_or("a setting that is not known", |(_, meaning)| meaning)
}

fn is_harmless(key: &str) -> bool {
    HARMLESS.contains(&key) || key.starts_with('_') || HARMLESS_ENDINGS.iter().any(|ending| key.ends_with(ending))
}

/// Whether a value means that something is not there: nothing, no, none of a list, a factor of 1 or a share of all.
pub(crate) fn is_off(key: &str, value: &Value) -> bool {
    // Of these the usual answer is yes.
    let is_usual = ["causal", "use_rope"].iter().any(|word| key.contains(word));
    let is_factor = ["multiplier", "scal", "factor", "rotary", "rope"].iter().any(|word| key.contains(word));
    match value {
        Value::Null => true,
        Value::Bool(flag) => *flag == is_usual,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        // What attention is divided by is never 1.
        Value::Number(number) if is_factor => number.as_f64() == Some(1.0) && !key.starts_with("attention"),
        Value::Number(number) => number.as_f64() == Some(0.0),
    }
}
