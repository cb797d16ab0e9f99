//! The sizes of a LLaMA-family model, from Hugging Face's `config.json` or a GGUF file's metadata.

use serde::{Deserialize, Serialize};

use crate::formats::gguf::Gguf;
use crate::limits::MAX_HEAD_DIM;
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
    /// Reads the `config.json` of a Hugging Face LLaMA model.
    pub fn from_json(text: &str) -> Result<Self> {
        let config: Self = serde_json::from_str(text).map_err(|error| Error::Config(error.to_string()))?;
        config.completed().checked()
    }

    /// Reads the metadata of a GGUF file.
    pub fn from_gguf(gguf: &Gguf<'_>) -> Result<Self> {
        let architecture = gguf.optional_string("general.architecture")?.unwrap_or("unknown");
        if architecture != "llama" {
            return Err(Error::Gguf(format!("its architecture is `{architecture}`; only `llama` is supported")));
        }
        if let Some(scaling) = gguf.optional_string("llama.rope.scaling.type")?.filter(|kind| *kind != "none") {
            return Err(Error::Gguf(format!("its rotary scaling `{scaling}` is not supported")));
        }
        let embedding = gguf.tensors().get("token_embd.weight");
        let embedding = embedding.ok_or_else(|| Error::TensorMissing("token_embd.weight".into()))?;
        let config = Self {
            // The table is what is looked up; the tokenizer is held against it when it is loaded.
            vocab_size: embedding.shape.first().copied().unwrap_or(0),
            hidden_size: gguf.size("llama.embedding_length")?,
            intermediate_size: gguf.size("llama.feed_forward_length")?,
            num_hidden_layers: gguf.size("llama.block_count")?,
            num_attention_heads: gguf.size("llama.attention.head_count")?,
            num_key_value_heads: gguf.optional_size("llama.attention.head_count_kv")?.unwrap_or(0),
            head_dim: gguf.optional_size("llama.attention.key_length")?.unwrap_or(0),
            rms_norm_eps: gguf.optional_float("llama.attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
            rope_theta: gguf.optional_float("llama.rope.freq_base")?.unwrap_or_else(default_rope_theta),
            max_position_embeddings: gguf.size("llama.context_length")?,
            tie_word_embeddings: !gguf.tensors().contains_key("output.weight"),
            rope_scaling: None,
            hidden_act: default_activation(),
            attention_bias: false,
            mlp_bias: false,
        };
        config.completed().checked()
    }

    /// Width of all key heads, and of all value heads.
    pub fn key_value_width(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Width of all query heads.
    pub fn query_width(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    fn completed(mut self) -> Self {
        if self.num_key_value_heads == 0 {
            self.num_key_value_heads = self.num_attention_heads;
        }
        if self.head_dim == 0 && self.num_attention_heads > 0 {
            self.head_dim = self.hidden_size / self.num_attention_heads;
        }
        self
    }

    fn checked(self) -> Result<Self> {
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
        } else if self.hidden_act != "silu" {
            "hidden_act is not `silu`"
        } else if self.attention_bias || self.mlp_bias {
            "attention_bias and mlp_bias are not supported"
        } else if self.rope_scaling.as_ref().is_some_and(|scaling| scaling.rope_type != "llama3") {
            "rope_scaling is not `llama3`"
        } else {
            return Ok(self);
        };
        Err(Error::Config(problem.into()))
    }
}
