//! SwiGLU, <https://arxiv.org/abs/2002.05202>: a feed-forward layer whose inner numbers are gated.

use burn::tensor::Tensor;

use super::config::LlamaConfig;
use super::linear::Linear;
use super::source::WeightSource;
use crate::Result;
use crate::kernels::decoder::swiglu;

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

    /// What it makes of `x`, added to `stream`.
    ///
    /// # Shapes
    /// - `stream`, `x`: `[T, H]`, result: `[T, H]`
    pub fn forward(&self, stream: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        let inner = swiglu(self.gate_proj.forward(x.clone()), self.up_proj.forward(x));
        self.down_proj.forward_plus(inner, None, Some(stream))
    }
}
