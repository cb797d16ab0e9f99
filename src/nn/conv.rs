//! Convolution.

use burn::tensor::Tensor;

use crate::Result;
use crate::kernels::dense::conv2d;
use crate::nn::tensor_store::TensorStore;

/// Convolution over pixels.
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// Takes `{name}.weight` `[output, input, kernel, kernel]` and `{name}.bias`. Padding keeps `kernel / 2` pixels at
    /// stride below `kernel`, and none for patches (`stride == kernel`).
    pub fn load(
        store: &mut TensorStore,
        name: &str,
        [input, output]: [usize; 2],
        kernel: usize,
        stride: usize,
    ) -> Result<Self> {
        Ok(Self {
            weight: store.take(&format!("{name}.weight"), [output, input, kernel, kernel])?,
            bias: store.take(&format!("{name}.bias"), [output])?,
            stride,
            padding: if stride == kernel { 0 } else { kernel / 2 },
        })
    }

    /// # Shapes
    /// - `x`: `[B, in, h, w]`
    /// - output: `[B, out, h / stride, w / stride]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d(x, self.weight.clone(), self.bias.clone(), self.stride, self.padding)
    }
}
