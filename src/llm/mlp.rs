//! SwiGLU, <https://arxiv.org/abs/2002.05202>: a feed-forward layer whose inner numbers are gated.

use burn::tensor::Tensor;
use burn::tensor::activation::silu;

use super::config::LlamaConfig;
use super::linear::Linear;
use super::source::WeightSource;
use crate::Result;

#[derive(Debug, Clone)]
pub struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl Mlp {
    pub fn load(config: &LlamaConfig, source: &mut dyn WeightSource, prefix: &str) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let mut load = |name, rows, columns| source.linear(&format!("{prefix}.{name}.weight"), rows, columns);
        Ok(Self {
            gate_proj: load("gate_proj", inner, hidden)?,
            up_proj: load("up_proj", inner, hidden)?,
            down_proj: load("down_proj", hidden, inner)?,
        })
    }

    /// # Shapes
    /// - `x`: `[T, H]`, result: `[T, H]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let gate = silu(self.gate_proj.forward(x.clone()));
        self.down_proj.forward(gate * self.up_proj.forward(x))
    }
}
