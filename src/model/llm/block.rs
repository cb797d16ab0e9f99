//! One layer: attention, then feed-forward, each on a normed copy and added to the residual.

use burn::tensor::Tensor;

use super::adapters::AdapterConfig;
use super::attention::{Attention, Positions};
use super::config::LlamaConfig;
use super::kv_cache::LayerCache;
use super::mlp::Mlp;
use super::rms_norm::RmsNorm;
use super::source::WeightSource;
use crate::Result;
use crate::nn::tensor_store::TensorStore;

/// Attention, then an MLP, each with a norm before it and added to what came in.
#[derive(Debug, Clone)]
pub struct Block {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
}

impl Block {
    /// Takes the tensors that begin with `prefix`.
    pub fn load(config: &LlamaConfig, source: &mut dyn WeightSource, prefix: &str) -> Result<Self> {
        let (hidden, eps) = (config.hidden_size, config.rms_norm_eps);
        let norm = |source: &mut dyn WeightSource, name| {
            RmsNorm::load(source, &format!("{prefix}.{name}.weight"), hidden, eps)
        };
        Ok(Self {
            input_layernorm: norm(source, "input_layernorm")?,
            self_attn: Attention::load(config, source, &format!("{prefix}.self_attn"))?,
            post_attention_layernorm: norm(source, "post_attention_layernorm")?,
            mlp: Mlp::load(config, source, &format!("{prefix}.mlp"))?,
        })
    }

    /// Takes the adapters of layer number `layer`.
    pub fn adapt(
        &mut self,
        config: &LlamaConfig,
        adapters: &AdapterConfig,
        store: &mut TensorStore,
        layer: usize,
    ) -> Result<()> {
        self.self_attn.adapt(config, adapters, store, layer)?;
        self.mlp.adapt(config, adapters, store, layer)
    }

    /// # Shapes
    /// - `x`: `[T, H]`, result: `[T, H]`
    pub fn forward(&self, x: Tensor<2>, positions: &Positions, cache: &mut LayerCache) -> Tensor<2> {
        let x = self.self_attn.forward(x, self.input_layernorm.epilogue(), positions, cache);
        self.mlp.forward(x, self.post_attention_layernorm.epilogue(), positions.is_adapted)
    }
}
