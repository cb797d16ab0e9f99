//! Causal self-attention in which several query heads share a key and a value head (GQA).

use burn::tensor::{Int, Tensor};

use super::adapters::{AdaptedLinear, AdapterConfig, Projection};
use super::config::LlamaConfig;
use super::kv_cache::LayerCache;
use super::source::WeightSource;
use crate::Result;
use crate::kernels::epilogue::{Epilogue, Norm};
use crate::nn::linear::Linear;
use crate::nn::tensor_store::TensorStore;

/// Causal self-attention with grouped keys and values, and rotary positions.
#[derive(Debug, Clone)]
pub struct Attention {
    /// Rows of `q_proj`, `k_proj`, then `v_proj`.
    heads_proj: AdaptedLinear,
    o_proj: AdaptedLinear,
}

/// Where a run of positions stands: what is the same for all layers.
#[derive(Debug, Clone)]
pub struct Positions {
    /// Position of the first, `[1]`.
    pub offset: Tensor<1, Int>,
    /// Cosines of all angles of a position, then their sines, for every position of the cache: `[capacity, head_dim]`.
    pub rotation: Tensor<2>,
    /// Whether the adapters are on.
    pub is_adapted: bool,
}

impl Attention {
    /// Takes the tensors that begin with `prefix`.
    pub fn load(config: &LlamaConfig, source: &mut dyn WeightSource, prefix: &str) -> Result<Self> {
        let (hidden, queries, keys) = (config.hidden_size, config.query_width(), config.key_value_width());
        let mut load = |name, rows, columns| source.linear(&format!("{prefix}.{name}.weight"), rows, columns);
        let heads = [load("q_proj", queries, hidden)?, load("k_proj", keys, hidden)?, load("v_proj", keys, hidden)?];
        let (heads_proj, o_proj) = (Linear::joined(heads), load("o_proj", hidden, queries)?);
        Ok(Self { heads_proj: AdaptedLinear::new(heads_proj), o_proj: AdaptedLinear::new(o_proj) })
    }

    /// Takes the adapters of layer number `layer`.
    pub fn adapt(
        &mut self,
        config: &LlamaConfig,
        adapters: &AdapterConfig,
        store: &mut TensorStore,
        layer: usize,
    ) -> Result<()> {
        let (hidden, queries, keys) = (config.hidden_size, config.query_width(), config.key_value_width());
        let heads = [(Projection::Q, queries), (Projection::K, keys), (Projection::V, keys)];
        self.heads_proj.adapt(store, adapters, layer, hidden, &heads)?;
        self.o_proj.adapt(store, adapters, layer, queries, &[(Projection::O, hidden)])
    }

    /// What it makes of `residual` after `norm`, added to it.
    ///
    /// # Shapes
    /// - `residual`, result: `[T, H]`
    pub fn forward(&self, residual: Tensor<2>, norm: Norm, positions: &Positions, cache: &mut LayerCache) -> Tensor<2> {
        let on = positions.is_adapted;
        let normed = Epilogue { norm: Some(norm), ..Epilogue::default() };
        let heads = self.heads_proj.forward_with(residual.clone(), normed, on);
        let mixed = cache.attend(heads, positions);
        self.o_proj.forward_with(mixed, Epilogue { residual: Some(residual), ..Epilogue::default() }, on)
    }
}
