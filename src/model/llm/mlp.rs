//! SwiGLU, <https://arxiv.org/abs/2002.05202>: a feed-forward layer whose inner numbers are passed through SwiGLU.

use burn::tensor::Tensor;

use super::adapters::{AdaptedLinear, AdapterConfig, Projection};
use super::config::LlamaConfig;
use super::source::WeightSource;
use crate::Result;
use crate::kernels::epilogue::{Epilogue, Norm};
use crate::nn::linear::Linear;
use crate::nn::tensor_store::TensorStore;

/// The gated MLP of a layer: `down(silu(gate(x)) * up(x))`.
#[derive(Debug, Clone)]
pub struct Mlp {
    /// Rows of `gate_proj`, then `up_proj`.
    gate_up_proj: AdaptedLinear,
    down_proj: AdaptedLinear,
}

impl Mlp {
    /// Takes the tensors that begin with `prefix`.
    pub fn load(config: &LlamaConfig, source: &mut dyn WeightSource, prefix: &str) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let mut load = |name, rows, columns| source.linear(&format!("{prefix}.{name}.weight"), rows, columns);
        let gate_up = [load("gate_proj", inner, hidden)?, load("up_proj", inner, hidden)?];
        let (gate_up_proj, down_proj) = (Linear::joined(gate_up), load("down_proj", hidden, inner)?);
        Ok(Self { gate_up_proj: AdaptedLinear::new(gate_up_proj), down_proj: AdaptedLinear::new(down_proj) })
    }

    /// Takes the adapters of layer number `layer`.
    pub fn adapt(
        &mut self,
        config: &LlamaConfig,
        adapters: &AdapterConfig,
        store: &mut TensorStore,
        layer: usize,
    ) -> Result<()> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let gate_up = [(Projection::Gate, inner), (Projection::Up, inner)];
        self.gate_up_proj.adapt(store, adapters, layer, hidden, &gate_up)?;
        self.down_proj.adapt(store, adapters, layer, inner, &[(Projection::Down, hidden)])
    }

    /// What it makes of `residual` after `norm`, added to it.
    ///
    /// # Shapes
    /// - `residual`, result: `[T, H]`
    pub fn forward(&self, residual: Tensor<2>, norm: Norm, is_adapted: bool) -> Tensor<2> {
        let swiglu_epilogue = Epilogue { norm: Some(norm), is_swiglu: true, ..Epilogue::default() };
        let inner = self.gate_up_proj.forward_with(residual.clone(), swiglu_epilogue, is_adapted);
        let added = Epilogue { residual: Some(residual), ..Epilogue::default() };
        self.down_proj.forward_with(inner, added, is_adapted)
    }
}
