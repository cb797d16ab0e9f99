//! The LLaMA family of language models, <https://arxiv.org/abs/2302.13971>: embeddings in, hidden states out, and the
//! logits of the next token from a hidden state.
//!
//! Module and field names are those of Hugging Face's `LlamaForCausalLM`, so they are the weights' names as well.

mod adapters;
mod attention;
mod block;
mod config;
mod gguf_source;
mod kv_cache;
mod mlp;
mod recorded;
mod rms_norm;
mod rope;
mod source;
mod token_mask;

use std::sync::Arc;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

pub use self::adapters::{AdapterConfig, Projection};
use self::block::Block;
pub use self::config::{LlamaConfig, RopeScaling};
pub use self::gguf_source::{GgufSource, weight_names};
#[cfg(all(feature = "convert", not(target_family = "wasm")))]
pub(crate) use self::gguf_source::{gguf_name, in_rotate_half_order};
pub use self::kv_cache::KvCache;
pub use self::recorded::ChosenTokens;
use self::recorded::Recorded;
use self::rms_norm::RmsNorm;
use self::rope::Rope;
pub use self::source::WeightSource;
pub use self::token_mask::TokenMask;
use crate::formats::gguf::Gguf;
use crate::kernels::decoder::Next;
use crate::kernels::epilogue::Epilogue;
use crate::kernels::in_pool;
use crate::kernels::quant_matmul::Activations;
use crate::kernels::{DeviceSampling, MAX_RUN_AHEAD};
use crate::nn::linear::{Linear, check_ids};
use crate::nn::tensor_store::TensorStore;
use crate::{Error, Result};

/// Positions that go through the layers at once. More would only make the attention scores larger.
const PREFILL_CHUNK: usize = 256;

/// A language model of the LLaMA family on its device.
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
    has_adapters: bool,
}

impl Llama {
    /// Loads weights by their Hugging Face names, with `prefix` in front of each (`""`, or `"llm."` in our own files).
    pub fn load(config: LlamaConfig, source: &mut dyn WeightSource, prefix: &str, device: &Device) -> Result<Self> {
        let (vocabulary, hidden, eps) = (config.vocab_size, config.hidden_size, config.rms_norm_eps);
        let named = |name: &str| format!("{prefix}{name}");
        let embed_tokens = source.linear(&named("model.embed_tokens.weight"), vocabulary, hidden)?;
        let mut layers = Vec::new();
        for i in 0..config.num_hidden_layers {
            layers.push(Block::load(&config, source, &named(&format!("model.layers.{i}")))?);
        }
        let norm = RmsNorm::load(source, &named("model.norm.weight"), hidden, eps)?;
        let lm_head = match config.tie_word_embeddings {
            true => None,
            false => Some(source.linear(&named("lm_head.weight"), vocabulary, hidden)?),
        };
        let rope = Rope::new(&config, source.rope_divisors()?)?;
        Ok(Self { config, embed_tokens, layers, norm, lm_head, rope, device: device.clone(), has_adapters: false })
    }

    /// Loads sizes and weights of a GGUF file. Packed tensors stay packed, and are multiplied with such `activations`.
    pub fn from_gguf(gguf: &Gguf<'_>, activations: Activations, device: &Device) -> Result<Self> {
        let config = LlamaConfig::from_gguf(gguf)?;
        Self::load(config.clone(), &mut GgufSource::new(gguf, &config, activations, device), "", device)
    }

    /// Takes the adapters of all layers; tensors `adapters.{layer}.{part}.{a,b}`, `[rank, K]` and `[N, rank]`. They count
    /// where a cache is [`KvCache::adapted`], and nowhere else.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that make no sense; what [`TensorStore::take`] says.
    pub fn load_adapters(&mut self, adapters: &AdapterConfig, store: &mut TensorStore) -> Result<()> {
        adapters.check()?;
        self.layers.iter_mut().enumerate().try_for_each(|(i, layer)| layer.adapt(&self.config, adapters, store, i))?;
        self.has_adapters = true;
        Ok(())
    }

    /// Whether it took some.
    pub fn has_adapters(&self) -> bool {
        self.has_adapters
    }

    /// Its sizes.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Where its weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// An empty cache for at most `capacity` positions.
    pub fn new_cache(&self, capacity: usize) -> Result<KvCache> {
        KvCache::new(&self.config, &self.rope, capacity, &self.device)
    }

    /// # Shapes
    /// - `ids`: `[T]`, result: `[T, H]`
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor<2>> {
        if ids.is_empty() {
            return Err(Error::Prompt("there are no tokens".into()));
        }
        check_ids(ids, self.config.vocab_size)?;
        Ok(self.embed_tokens.rows(ids))
    }

    /// Hidden states of new positions, which follow those in `cache` and join them.
    ///
    /// # Shapes
    /// - `embeddings`: `[T, H]`, result: `[T, H]`
    pub fn forward(&self, embeddings: Tensor<2>, cache: &mut KvCache) -> Result<Tensor<2>> {
        let [tokens, _] = embeddings.dims();
        cache.check_room(tokens)?;
        Ok(in_pool(&self.device, || {
            if tokens <= PREFILL_CHUNK {
                return self.forward_chunk(embeddings, cache);
            }
            let chunks = embeddings.split(PREFILL_CHUNK, 0).into_iter();
            Tensor::cat(chunks.map(|chunk| self.forward_chunk(chunk, cache)).collect(), 0)
        }))
    }

    fn forward_chunk(&self, embeddings: Tensor<2>, cache: &mut KvCache) -> Tensor<2> {
        let [tokens, _] = embeddings.dims();
        let offset = Tensor::from_data(TensorData::new(vec![cache.len() as u32], [1]), (&self.device, DType::U32));
        let hidden = self.layers(embeddings, offset, cache);
        cache.advance(tokens);
        hidden
    }

    /// # Shapes
    /// - `x`: `[T, H]`, `offset`: `[1]`, the position of the first; result: `[T, H]`
    fn layers(&self, x: Tensor<2>, offset: Tensor<1, Int>, cache: &mut KvCache) -> Tensor<2> {
        let (positions, layers) = cache.from(offset);
        let x = self.layers.iter().zip(layers).fold(x, |x, (block, layer)| block.forward(x, &positions, layer));
        self.norm.forward(x)
    }

    /// The token after a hidden state, chosen by the device: the best that `mask` lets through, or one sampled.
    ///
    /// # Shapes
    /// - `hidden`: `[1, H]`
    pub fn choose(&self, hidden: Tensor<2>, mask: &TokenMask, sampling: Option<&DeviceSampling>) -> ChosenTokens {
        let logits = self.logits(hidden, mask.bias.as_ref());
        let mut next = Next::new(sampling.is_some(), &self.device);
        next.begin(0, 0, sampling);
        ChosenTokens { rows: next.choose(logits), first: 0, count: 1 }
    }

    /// Reads `id` and chooses the token after it, and where the device can do so alone also those that follow, each read in
    /// turn: `count` in all. Of the last only the choice is known; `cache` holds all before it.
    pub fn choose_ahead(
        &self,
        id: u32,
        count: usize,
        mask: &Arc<TokenMask>,
        sampling: Option<&DeviceSampling>,
        cache: &mut KvCache,
    ) -> Result<ChosenTokens> {
        match self.embed_tokens.whole() {
            Some(embeddings) if self.device != Device::flex() => {
                let count = count.clamp(1, MAX_RUN_AHEAD);
                check_ids(&[id], self.config.vocab_size)?;
                cache.check_room(count)?;
                Recorded::run(self, embeddings, id, count, mask, sampling, cache)
            }
            _ => Ok(self.choose(self.forward(self.embed(&[id])?, cache)?, mask, sampling)),
        }
    }

    /// The logits of the next token after each hidden state, with a `bias` added to each row.
    ///
    /// # Shapes
    /// - `hidden`: `[T, H]`, `bias`: `[vocabulary]`, result: `[T, vocabulary]`
    pub fn logits(&self, hidden: Tensor<2>, bias: Option<&Tensor<1>>) -> Tensor<2> {
        let head = self.lm_head.as_ref().unwrap_or(&self.embed_tokens);
        head.forward_with(hidden, Epilogue { bias: bias.cloned(), ..Epilogue::default() })
    }
}
