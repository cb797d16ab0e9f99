//! Causal self-attention in which several query heads share a key and a value head (GQA).

use burn::tensor::Tensor;

use super::config::LlamaConfig;
use super::kv_cache::LayerCache;
use super::linear::Linear;
use super::source::WeightSource;
use crate::Result;

#[derive(Debug, Clone)]
pub struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
}

/// Where a run of positions stands: what is the same for all layers.
#[derive(Debug, Clone)]
pub struct Positions {
    pub start: usize,
    /// Cosines of all angles of a position, then their sines, `[T, head_dim]`.
    pub rotation: Tensor<2>,
}

impl Attention {
    pub fn load(config: &LlamaConfig, source: &mut dyn WeightSource, prefix: &str) -> Result<Self> {
        let (hidden, queries, keys) = (config.hidden_size, config.query_width(), config.key_value_width());
        let mut load = |name, rows, columns| source.linear(&format!("{prefix}.{name}.weight"), rows, columns);
        Ok(Self {
            q_proj: load("q_proj", queries, hidden)?,
            k_proj: load("k_proj", keys, hidden)?,
            v_proj: load("v_proj", keys, hidden)?,
            o_proj: load("o_proj", hidden, queries)?,
        })
    }

    /// What it makes of `x`, added to `stream`.
    ///
    /// # Shapes
    /// - `stream`, `x`: `[T, H]`, result: `[T, H]`
    pub fn forward(&self, stream: Tensor<2>, x: Tensor<2>, positions: &Positions, cache: &mut LayerCache) -> Tensor<2> {
        let heads = [&self.q_proj, &self.k_proj, &self.v_proj].map(|projection| projection.forward(x.clone()));
        self.o_proj.forward_plus(cache.attend(heads, positions), None, Some(stream))
    }
}
