//! A linear layer of normalised rows.

use burn::tensor::Tensor;

use crate::Result;
use crate::nn::linear::Linear;
use crate::nn::norms::LayerNorm;
use crate::nn::tensor_store::TensorStore;

/// LayerNorm over the channels, then a linear layer; tensors `{name}.{norm, proj}`.
#[derive(Debug)]
pub struct NormLinear {
    norm: LayerNorm,
    proj: Linear,
}

impl NormLinear {
    /// Takes `name.norm` `[channels]` and `name.proj` `[width, channels]`.
    ///
    /// # Errors
    /// What [`TensorStore::take`] says.
    pub fn load(store: &mut TensorStore, name: &str, channels: usize, width: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            norm: LayerNorm::load(store, &format!("{name}.norm"), channels, eps)?,
            proj: Linear::load(store, &format!("{name}.proj"), channels, width)?,
        })
    }

    /// # Shapes
    /// - `x`: `[T, channels]`; `residual`, output: `[T, width]`
    pub fn forward_onto(&self, residual: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        self.proj.forward_onto(residual, self.norm.forward(x))
    }
}
