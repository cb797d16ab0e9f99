//! RMSNorm, <https://arxiv.org/abs/1910.07467>: a row divided by its root mean square, times a learned weight.

use burn::tensor::Tensor;

use super::source::WeightSource;
use crate::Result;
use crate::kernels::decoder::rms_norm;
use crate::kernels::epilogue::Norm;

/// RMSNorm with a weight for each column.
#[derive(Debug, Clone)]
pub struct RmsNorm(Norm);

impl RmsNorm {
    /// Takes the weight `[width]` called `name`.
    pub fn load(source: &mut dyn WeightSource, name: &str, width: usize, eps: f64) -> Result<Self> {
        Ok(Self(Norm { weight: source.vector(name, width)?, eps: eps as f32 }))
    }

    /// It, to go with a product.
    pub fn epilogue(&self) -> Norm {
        self.0.clone()
    }

    /// # Shapes
    /// - `x`: `[T, H]`, result: `[T, H]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        rms_norm(x, self.0.weight.clone(), self.0.eps)
    }
}
