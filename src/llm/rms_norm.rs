//! RMSNorm, <https://arxiv.org/abs/1910.07467>: a row divided by its root mean square, times a learned weight.

use burn::tensor::Tensor;

use super::source::WeightSource;
use crate::Result;

#[derive(Debug, Clone)]
pub struct RmsNorm {
    /// `[1, H]`
    weight: Tensor<2>,
    eps: f64,
}

impl RmsNorm {
    pub fn load(source: &mut dyn WeightSource, name: &str, width: usize, eps: f64) -> Result<Self> {
        Ok(Self { weight: source.vector(name, width)?.unsqueeze(), eps })
    }

    /// # Shapes
    /// - `x`: `[T, H]`, result: `[T, H]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let mean_square = x.clone().square().mean_dim(1); // [T, 1]
        x * mean_square.add_scalar(self.eps).sqrt().recip() * self.weight.clone()
    }
}
