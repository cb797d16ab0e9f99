//! SwiGLU, <https://arxiv.org/abs/2002.05202>: a feed-forward layer whose inner numbers are passed through SwiGLU.

use burn::tensor::Tensor;

use super::config::LlamaConfig;
use super::source::WeightSource;
use crate::Result;
use crate::kernels::epilogue::{Epilogue, Norm};
use crate::nn::linear::Linear;

/// The gated MLP of a layer: `down(silu(gate(x)) * up(x))`.
#[derive(Debug, Clone)]
pub struct Mlp {
    /// Rows of `gate_proj`, then `up_proj`.
    gate_up_proj: Linear,
    down_proj: Linear,
}

impl Mlp {
    /// Takes the tensors that begin with `prefix`.
    pub fn load(config: &LlamaConfig, source: &mut dyn WeightSource, prefix: &str) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let mut load = |name, rows, columns| source.linear(&format!("{prefix}.{name}.weight"), rows, columns);
        let gate_up = [load("gate_proj", inner, hidden)?, load("up_proj", inner, hidden)?];
        Ok(Self { gate_up_proj: Linear::joined(gate_up), down_proj: load("down_proj", hidden, inner)? })
    }

    /// What it makes of `residual` after `norm`, added to it.
    ///
    /// # Shapes
    /// - `residual`, result: `[T, H]`
    pub fn forward(&self, residual: Tensor<2>, norm: Norm) -> Tensor<2> {
        let swiglu_epilogue = Epilogue { norm: Some(norm), is_swiglu: true, ..Epilogue::default() };
        let inner = self.gate_up_proj.forward_with(residual.clone(), swiglu_epilogue);
        self.down_proj.forward_with(inner, Epilogue { residual: Some(residual), ..Epilogue::default() })
    }
}
