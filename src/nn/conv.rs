//! Convolution.

use burn::tensor::{DType, Int, Tensor, TensorData};

use crate::Result;
use crate::kernels::Filters;
use crate::kernels::dense::{conv2d, depthwise_conv2d};
use crate::kernels::epilogue::{Activation, Epilogue};
use crate::nn::linear::Linear;
use crate::nn::quantized_matrix::Rows;
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

/// Convolution over pixels that lie row by row, `[H * W, C]`, as a product: what each pixel of the result meets is gathered.
#[derive(Debug, Clone)]
pub struct RowsConv {
    weight: Linear, // [O, K * K * I]
    inner: usize,
    bias: Tensor<1>,
    /// Of each pixel of the result the pixels that it meets; one past the last for zeros. `[H' * W' * K * K]`
    met: Tensor<1, Int>,
    activation: Option<Activation>,
}

impl RowsConv {
    /// Takes `{name}.weight` `[output, input, kernel, kernel]` and `{name}.bias`, for squares of `side` pixels.
    pub fn load(
        store: &mut TensorStore,
        name: &str,
        [input, output]: [usize; 2],
        side: usize,
        filters: Filters,
    ) -> Result<Self> {
        let kernel = filters.kernel;
        let weight: Tensor<4> = store.take(&format!("{name}.weight"), [output, input, kernel, kernel])?;
        let weight = weight.permute([0, 2, 3, 1]).reshape([output, kernel * kernel * input]);
        let met = filters.met(side);
        let length = met.len();
        Ok(Self {
            weight: Linear::new(vec![Rows::Dense(weight)]),
            inner: kernel * kernel * input,
            bias: store.take(&format!("{name}.bias"), [output])?,
            met: Tensor::from_data(TensorData::new(met, [length]), (store.device(), DType::I32)),
            activation: filters.is_relu6.then_some(Activation::Relu6),
        })
    }

    /// # Shapes
    /// - `x`: `[H * W, I]`, `residual`, output: `[H' * W', O]`
    pub fn forward(&self, x: Tensor<2>, residual: Option<Tensor<2>>) -> Tensor<2> {
        let [_, inputs] = x.dims();
        let zeros = Tensor::zeros([1, inputs], &x.device());
        let met = Tensor::cat(vec![x, zeros], 0).select(0, self.met.clone()); // [h' * w' * k * k, i]
        let pixels = self.met.dims()[0] * inputs / self.inner;
        let epilogue = Epilogue { activation: self.activation, residual, ..Epilogue::bias(self.bias.clone()) };
        self.weight.forward_with(met.reshape([pixels, self.inner]), epilogue)
    }
}

/// Convolution in which every channel has a filter of its own, over pixels that lie row by row.
#[derive(Debug, Clone)]
pub struct DepthwiseConv {
    weight: Tensor<2>, // [K * K, C]
    bias: Tensor<1>,
    filters: Filters,
}

impl DepthwiseConv {
    /// Takes `{name}.weight` `[channels, 1, kernel, kernel]` and `{name}.bias`.
    pub fn load(store: &mut TensorStore, name: &str, channels: usize, filters: Filters) -> Result<Self> {
        let (kernel, taps) = (filters.kernel, filters.kernel * filters.kernel);
        let weight: Tensor<4> = store.take(&format!("{name}.weight"), [channels, 1, kernel, kernel])?;
        // Through one dimension, so that it lies in memory as it is read.
        let weight = weight.reshape([channels, taps]).transpose().reshape([taps * channels]).reshape([taps, channels]);
        Ok(Self { weight, bias: store.take(&format!("{name}.bias"), [channels])?, filters })
    }

    /// # Shapes
    /// - `x`: `[H, W, C]`, output: `[H', W', C]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        depthwise_conv2d(x, self.weight.clone(), self.bias.clone(), self.filters)
    }
}
