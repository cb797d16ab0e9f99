//! Normalisation layers, loaded by their checkpoint names.

use burn::tensor::{Device, Tensor};

use crate::Result;
use crate::kernels::dense::layer_norm;
use crate::nn::tensor_store::TensorStore;

/// LayerNorm over the last dimension.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
}

impl LayerNorm {
    /// Takes `{name}.weight` and `{name}.bias`.
    pub fn load(store: &mut TensorStore, name: &str, width: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: store.take(&format!("{name}.weight"), [width])?,
            bias: store.take(&format!("{name}.bias"), [width])?,
            eps,
        })
    }

    /// LayerNorm that learns nothing.
    pub fn without_affine(width: usize, eps: f64, device: &Device) -> Self {
        Self { weight: Tensor::ones([width], device), bias: Tensor::zeros([width], device), eps }
    }

    /// # Shapes
    /// - `x`, output: `[.., width]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let shape = x.shape();
        let rows = x.flatten(0, D - 2);
        layer_norm(rows, self.weight.clone(), self.bias.clone(), self.eps as f32).reshape(shape)
    }
}

/// GroupNorm with one group: mean and variance over channels, rows and columns together.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
}

impl GroupNorm {
    /// Takes `{name}.weight` and `{name}.bias`.
    pub fn load(store: &mut TensorStore, name: &str, channels: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: store.take(&format!("{name}.weight"), [channels])?,
            bias: store.take(&format!("{name}.bias"), [channels])?,
            eps,
        })
    }

    /// # Shapes
    /// - `x`, output: `[B, channels, h, w]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shape = x.shape();
        layer_norm(x.flatten(1, 3), self.weight.clone(), self.bias.clone(), self.eps as f32).reshape(shape)
    }
}
