//! The LLaMA family of language models, <https://arxiv.org/abs/2302.13971>: embeddings in, hidden states out, and the
//! logits of the next token from a hidden state.
//!
//! Module and field names are those of Hugging Face's `LlamaForCausalLM`, so they are the weights' names as well.

mod attention;
mod block;
pub mod config;
mod gguf_source;
mod kv_cache;
mod linear;
mod mlp;
mod rms_norm;
mod rope;
pub mod source;

use burn::tensor::{Device, Tensor};

use self::attention::Positions;
use self::block::Block;
pub use self::config::LlamaConfig;
pub use self::gguf_source::GgufSource;
pub use self::kv_cache::KvCache;
use self::linear::{Linear, check_ids};
use self::rms_norm::RmsNorm;
use self::rope::Rope;
use self::source::TensorSource;
use crate::gguf::Gguf;
use crate::{Error, Result};

/// Positions that go through the layers at once. More would only make the attention scores larger.
const PREFILL_CHUNK: usize = 256;

#[derive(Debug, Clone)]
pub struct Llama {
    config: LlamaConfig,
    embed_tokens: Linear,
    layers: Vec<Block>,
    norm: RmsNorm,
    /// `None` where the embedding table is the head as well.
    lm_head: Option<Linear>,
    rope: Rope,
    device: Device,
}

impl Llama {
    /// Loads weights by their Hugging Face names.
    pub fn load(config: LlamaConfig, source: &dyn TensorSource, device: &Device) -> Result<Self> {
        let (vocabulary, hidden) = (config.vocab_size, config.hidden_size);
        let head = || Linear::load(source, "lm_head.weight", vocabulary, hidden, device);
        let layer = |i| Block::load(&config, source, &format!("model.layers.{i}"), device);
        Ok(Self {
            embed_tokens: Linear::load(source, "model.embed_tokens.weight", vocabulary, hidden, device)?,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_>>()?,
            norm: RmsNorm::load(source, "model.norm.weight", hidden, config.rms_norm_eps, device)?,
            lm_head: if config.tie_word_embeddings { None } else { Some(head()?) },
            rope: Rope::load(&config, source)?,
            device: device.clone(),
            config,
        })
    }

    /// Loads sizes and weights of a GGUF file. Packed tensors stay packed.
    pub fn from_gguf(gguf: &Gguf, device: &Device) -> Result<Self> {
        let config = LlamaConfig::from_gguf(gguf)?;
        Self::load(config.clone(), &GgufSource::new(gguf, &config), device)
    }

    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// An empty cache for at most `capacity` positions.
    pub fn new_cache(&self, capacity: usize) -> Result<KvCache> {
        KvCache::new(&self.config, capacity, &self.device)
    }

    /// # Shapes
    /// - `ids`: `[T]`, result: `[T, H]`
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor<2>> {
        if ids.is_empty() {
            return Err(Error::Prompt("there are no tokens".into()));
        }
        check_ids(ids, self.config.vocab_size)?;
        Ok(self.embed_tokens.rows(ids, &self.device))
    }

    /// Hidden states of new positions, which follow those in `cache` and join them.
    ///
    /// # Shapes
    /// - `embeddings`: `[T, H]`, result: `[T, H]`
    pub fn forward(&self, embeddings: Tensor<2>, cache: &mut KvCache) -> Result<Tensor<2>> {
        let [tokens, _] = embeddings.dims();
        cache.check_room(tokens)?;
        if tokens <= PREFILL_CHUNK {
            return Ok(self.forward_chunk(embeddings, cache));
        }
        let chunks = embeddings.split(PREFILL_CHUNK, 0).into_iter();
        Ok(Tensor::cat(chunks.map(|chunk| self.forward_chunk(chunk, cache)).collect(), 0))
    }

    fn forward_chunk(&self, embeddings: Tensor<2>, cache: &mut KvCache) -> Tensor<2> {
        let ([tokens, _], start) = (embeddings.dims(), cache.len());
        let rotation = self.rope.rotation(start, tokens, &self.device);
        let positions = Positions::new(start, tokens, rotation, &self.device);
        let layers = self.layers.iter().zip(cache.layers_mut());
        let x = layers.fold(embeddings, |x, (block, layer)| block.forward(x, &positions, layer));
        cache.advance(tokens);
        self.norm.forward(x)
    }

    /// # Shapes
    /// - `hidden`: `[T, H]`, result: `[T, vocabulary]`
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens).forward(hidden)
    }
}
