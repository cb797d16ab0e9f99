//! Convolution over pixels.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, TensorData};
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::gemm_panels::{Panels, View};
use super::launch::{CONV2D, Launch, TILE, dispatch_2d};
use super::matmul::multiply_rows;

/// Sizes of a convolution of one image.
#[derive(Debug, Clone, Copy)]
pub struct Conv2dShape {
    /// Channels of the input.
    pub inputs: usize,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Channels of the result.
    pub outputs: usize,
    /// Side of the square that a result is made of.
    pub kernel: usize,
    /// Pixels from one of these squares to the next.
    pub stride: usize,
    /// Zeros put around the input on each side.
    pub padding: usize,
}

impl Conv2dShape {
    /// Height and width of the result.
    pub fn output(&self) -> [usize; 2] {
        [self.height, self.width].map(|side| (side + 2 * self.padding - self.kernel) / self.stride + 1)
    }
}

/// The convolution in the plainest form.
///
/// # Shapes
/// - `x`: `[I, H, W]`, `weight`: `[O, I, K, K]`, `bias`: `[O]`, output: `[O, H', W']`
pub fn conv2d_reference(x: &[f32], weight: &[f32], bias: &[f32], shape: Conv2dShape) -> Vec<f32> {
    let Conv2dShape { inputs, height, width, kernel, stride, padding, .. } = shape;
    let [rows, columns] = shape.output();
    let pixel = |input: usize, row: usize, column: usize| {
        // Where a row or column lies in x, if it does.
        let inside = |at: usize, size: usize| at.checked_sub(padding).filter(|&at| at < size);
        let at = inside(row, height).zip(inside(column, width));
        at.map_or(0.0, |(row, column)| f64::from(x[(input * height + row) * width + column]))
    };
    let mut y = Vec::new();
    for (weight, bias) in weight.chunks_exact(inputs * kernel * kernel).zip(bias) {
        for at in 0..rows * columns {
            let (row, column) = (at / columns * stride, at % columns * stride);
            let products = weight.iter().enumerate().map(|(i, weight)| {
                let (input, within) = (i / (kernel * kernel), i % (kernel * kernel));
                f64::from(*weight) * pixel(input, row + within / kernel, column + within % kernel)
            });
            y.push((products.sum::<f64>() + f64::from(*bias)) as f32);
        }
    }
    y
}

/// `x`: `[B, I, H, W]`, `weight`: `[O, I, K, K]`, `bias`: `[O]`.
pub(super) fn launch(x: CubeTensor, weight: CubeTensor, bias: CubeTensor, stride: usize, padding: usize) -> CubeTensor {
    let (x_shape, weight_shape) = (x.meta.shape().clone(), weight.meta.shape().clone());
    let (batch, outputs, kernel) = (x_shape[0], weight_shape[0], weight_shape[2]);
    let (inputs, height, width) = (x_shape[1], x_shape[2], x_shape[3]);
    let [rows, columns] = Conv2dShape { inputs, height, width, outputs, kernel, stride, padding }.output();
    let tiles = batch * (rows * columns).div_ceil(TILE) * outputs.div_ceil(TILE);
    let params = [tiles, inputs, height, width, outputs, rows, columns, kernel, stride, padding];
    let (launch, y) = Launch::new(CONV2D, x)
        .input(weight)
        .input(bias)
        .params(&params.map(|number| number as u32))
        .output([batch, outputs, rows, columns], DType::F32);
    launch.run(dispatch_2d(tiles));
    y
}

/// [`launch`] on the CPU: one product of the weights with what each of them meets. burn's own spends as long on gathering
/// that as on the product.
pub(super) fn convolve(
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: &FlexTensor,
    stride: usize,
    padding: usize,
) -> FlexTensor {
    let (x_shape, weight_shape) = (x.shape(), weight.shape());
    let (batch, outputs, kernel) = (x_shape[0], weight_shape[0], weight_shape[2]);
    let (inputs, height, width) = (x_shape[1], x_shape[2], x_shape[3]);
    let shape = Conv2dShape { inputs, height, width, outputs, kernel, stride, padding };
    let [rows, columns] = shape.output();
    let met = inputs * kernel * kernel;
    let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.to_contiguous());
    let mut y = vec![0.0; batch * outputs * rows * columns];
    let images = x.storage::<f32>().chunks_exact(inputs * height * width);
    for (image, y) in images.zip(y.chunks_exact_mut(outputs * rows * columns)) {
        let pixels = Panels::new(View::rows(&gather(image, shape), rows * columns));
        multiply_rows(View::rows(weight.storage(), met), &pixels, y);
        for (channel, bias) in y.chunks_exact_mut(rows * columns).zip(bias.storage::<f32>()) {
            channel.iter_mut().for_each(|value| *value += bias);
        }
    }
    FlexTensor::from_data(TensorData::new(y, [batch, outputs, rows, columns]))
}

/// For each weight of an output the pixels that it meets, `[I x K x K, H' x W']`; 0 outside of the image.
fn gather(x: &[f32], shape: Conv2dShape) -> Vec<f32> {
    let Conv2dShape { inputs, height, width, kernel, stride, padding, .. } = shape;
    let [rows, columns] = shape.output();
    let mut met = vec![0.0; inputs * kernel * kernel * rows * columns];
    for (at, met) in met.chunks_exact_mut(rows * columns).enumerate() {
        let (input, below, beside) = (at / (kernel * kernel), at / kernel % kernel, at % kernel);
        // The first column whose pixel is inside, and the first after it whose pixel is not.
        let first = padding.saturating_sub(beside).div_ceil(stride).min(columns);
        let end = (width + padding).saturating_sub(beside).div_ceil(stride).clamp(first, columns);
        for (row, met) in met.chunks_exact_mut(columns).enumerate() {
            let Some(y) = (row * stride + below).checked_sub(padding).filter(|&y| y < height) else { continue };
            let line = &x[(input * height + y) * width..][..width];
            let pixels = line[(first * stride + beside).saturating_sub(padding).min(width)..].iter().step_by(stride);
            for (met, pixel) in met[first..end].iter_mut().zip(pixels) {
                *met = *pixel;
            }
        }
    }
    met
}
