//! The sizes of a LLaMA-family model, from Hugging Face's `config.json`; `gguf_config.rs` has those of a GGUF file.

use serde::{Deserialize, Serialize};

use super::hugging_face::llama_settings;
use crate::formats::sniff::{Wanted, refuse_another};
use crate::limits::MAX_HEAD_DIM;
use crate::model::foreign::OTHER_MODEL;
use crate::{Error, Result};

/// Field names are those of Hugging Face's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlamaConfig {
    /// Tokens that it can tell apart: rows of the embeddings.
    pub vocab_size: usize,
    /// `H`: width of a hidden state.
    pub hidden_size: usize,
    /// Inner width of the MLPs.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Attention heads of a layer.
    pub num_attention_heads: usize,
    /// As many as there are heads where a file does not say.
    #[serde(default)]
    pub num_key_value_heads: usize,
    /// `hidden_size / num_attention_heads` where a file does not say.
    #[serde(default)]
    pub head_dim: usize,
    /// Epsilon of the norms.
    #[serde(default = "default_norm_eps")]
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    #[serde(default = "default_rope_theta")]
    pub rope_theta: f64,
    /// Positions the model can tell apart: its context.
    #[serde(default = "default_context")]
    pub max_position_embeddings: usize,
    /// The head is the embedding table itself.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// How the rotation is slowed down, if it is.
    #[serde(default)]
    pub rope_scaling: Option<RopeScaling>,
    /// Activation of the gates; only `silu` is known.
    #[serde(default = "default_activation")]
    pub hidden_act: String,
    /// Not supported where true.
    #[serde(default)]
    pub attention_bias: bool,
    /// Not supported where true.
    #[serde(default)]
    pub mlp_bias: bool,
}

/// How the rotation is slowed down for long contexts. Only LLaMA 3's way is known; see `rope.rs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RopeScaling {
    /// Only `llama3` is known.
    pub rope_type: String,
    /// What low frequencies are divided by.
    pub factor: f64,
    /// Wavelengths above `original_max_position_embeddings` by this are slowed down in full.
    pub low_freq_factor: f64,
    /// Wavelengths below `original_max_position_embeddings` by this stay as they are.
    pub high_freq_factor: f64,
    /// The context before it was made longer.
    pub original_max_position_embeddings: f64,
}

impl RopeScaling {
    /// Whether all speeds it gives are numbers above 0.
    fn is_sound(&self) -> bool {
        let numbers = [self.factor, self.low_freq_factor, self.original_max_position_embeddings];
        numbers.iter().all(|number| *number > 0.0 && number.is_finite())
            && self.high_freq_factor > self.low_freq_factor
            && self.high_freq_factor.is_finite()
    }
}

// The defaults of `transformers.LlamaConfig`.
fn default_norm_eps() -> f64 {
    1e-6
}

fn default_rope_theta() -> f64 {
    10_000.0
}

fn default_context() -> usize {
    2048
}

fn default_activation() -> String {
    "silu".into()
}

impl LlamaConfig {
    /// Reads the `config.json` of a Hugging Face LLaMA model, or the `llm` of ours.
    ///
    /// # Errors
    /// [`Error::Config`]; [`Error::NotSupported`] for another kind of model, by the first setting that makes it one.
    pub fn from_json(text: &str) -> Result<Self> {
        let invalid = |error: serde_json::Error| Error::Config(error.to_string());
        refuse_another(Wanted::Json, "config.json", "config-invalid", text.as_bytes())?;
        let settings = llama_settings(serde_json::from_str(text).map_err(invalid)?)?;
        let config: Self = serde_json::from_value(settings).map_err(invalid)?;
        config.completed().checked()
    }

    /// With as many heads of keys as make up that width.
    #[cfg(feature = "convert")]
    pub(crate) fn with_key_width(self, width: usize) -> Result<Self> {
        let heads = width / self.head_dim; // at least 4: it was checked
        Self { num_key_value_heads: heads, ..self }.checked()
    }

    /// Width of all key heads, and of all value heads.
    pub fn key_value_width(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Width of all query heads.
    pub fn query_width(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    pub(super) fn completed(mut self) -> Self {
        if self.num_key_value_heads == 0 {
            self.num_key_value_heads = self.num_attention_heads;
        }
        if self.head_dim == 0 && self.num_attention_heads > 0 {
            self.head_dim = self.hidden_size / self.num_attention_heads;
        }
        self
    }

    pub(super) fn checked(self) -> Result<Self> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        // Far beyond any real model.
        if let Some((name, size)) = sizes.into_iter().find(|(_, size)| !(1..=1 << 24).contains(size)) {
            return Err(Error::Config(format!("{name} is {size}")));
        }
        // In WebAssembly a product of two such sizes need not fit.
        let width = self.num_attention_heads.checked_mul(self.head_dim);
        let problem = if width.is_none_or(|width| width > 1 << 24) {
            "num_attention_heads times head_dim is too large"
        } else if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            "num_attention_heads is not a multiple of num_key_value_heads"
        } else if !self.head_dim.is_multiple_of(4) || self.head_dim > MAX_HEAD_DIM {
            "head_dim is not a multiple of 4, up to 256"
        } else if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            "rms_norm_eps is not between 0 and 1"
        } else if !(self.rope_theta > 1.0 && self.rope_theta.is_finite()) {
            "rope_theta is not a finite number above 1"
        } else if self.rope_scaling.as_ref().is_some_and(|scaling| !scaling.is_sound()) {
            "rope_scaling has factors that cannot be"
        } else {
            return self.supported();
        };
        Err(Error::Config(problem.into()))
    }

    /// What is sound, and yet not computed here.
    fn supported(self) -> Result<Self> {
        let what = if self.hidden_act != "silu" {
            format!("the activation `{}` (SiLU is)", self.hidden_act)
        } else if self.attention_bias || self.mlp_bias {
            let key = if self.attention_bias { "attention_bias" } else { "mlp_bias" };
            format!("`{key}` = true (biases)")
        } else {
            return Ok(self);
        };
        Err(Error::not_supported(what, OTHER_MODEL))
    }
}
