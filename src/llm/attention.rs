//! Causal self-attention in which several query heads share a key and a value head (GQA).

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};

use super::config::LlamaConfig;
use super::kv_cache::LayerCache;
use super::linear::Linear;
use super::rope::Rotation;
use super::source::WeightSource;
use crate::Result;
use crate::kernels::dense::matmul;

/// Added to scores of later positions: far below every score, yet finite.
const MASKED: f32 = -1e30;

#[derive(Debug, Clone)]
pub struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    heads: usize,
    key_value_heads: usize,
    head_dim: usize,
}

/// Where a run of positions stands: what is the same for all layers.
#[derive(Debug, Clone)]
pub struct Positions {
    start: usize,
    rotation: Rotation,
    /// `[1, 1, T, start + T]`; a single position sees everything and needs none.
    mask: Option<Tensor<4>>,
}

impl Positions {
    pub fn new(start: usize, count: usize, rotation: Rotation, device: &Device) -> Self {
        let mask = (count > 1).then(|| causal_mask(start, count, device));
        Self { start, rotation, mask }
    }
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
            heads: config.num_attention_heads,
            key_value_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
        })
    }

    /// # Shapes
    /// - `x`: `[T, H]`, result: `[T, H]`
    pub fn forward(&self, x: Tensor<2>, positions: &Positions, cache: &mut LayerCache) -> Tensor<2> {
        let [tokens, _] = x.dims();
        let (kv, group, head_dim) = (self.key_value_heads, self.heads / self.key_value_heads, self.head_dim);

        let q = self.q_proj.forward(x.clone()).reshape([tokens, self.heads, head_dim]);
        let k = self.k_proj.forward(x.clone()).reshape([tokens, kv, head_dim]);
        let v = self.v_proj.forward(x).reshape([tokens, kv, head_dim]);
        let q = positions.rotation.apply(q).swap_dims(0, 1); // [heads, T, head_dim]
        let k = positions.rotation.apply(k).swap_dims(0, 1); // [kv, T, head_dim]
        let (keys, values) = cache.append(k, v.swap_dims(0, 1), positions.start); // [kv, seen, head_dim]
        let [_, seen, _] = keys.dims();

        // The query heads of a group lie one after another, so they multiply their shared keys as one matrix.
        let q = q.mul_scalar((head_dim as f64).powf(-0.5)).reshape([kv, group * tokens, head_dim]);
        let mut scores = matmul(q, keys.swap_dims(1, 2)); // [kv, group * T, seen]
        if let Some(mask) = &positions.mask {
            scores = (scores.reshape([kv, group, tokens, seen]) + mask.clone()).reshape([kv, group * tokens, seen]);
        }
        let mixed = matmul(softmax(scores, 2), values); // [kv, group * T, head_dim]
        let mixed = mixed.reshape([self.heads, tokens, head_dim]).swap_dims(0, 1);
        self.o_proj.forward(mixed.reshape([tokens, self.heads * head_dim]))
    }
}

/// Position `start + i` sees positions up to itself.
fn causal_mask(start: usize, count: usize, device: &Device) -> Tensor<4> {
    let seen = start + count;
    let row = |i: usize| (0..seen).map(move |j| if j <= start + i { 0.0 } else { MASKED });
    let mask: Vec<f32> = (0..count).flat_map(row).collect();
    Tensor::from_data(TensorData::new(mask, [1, 1, count, seen]), device)
}
