//! Rows of mean 0 and deviation 1, times learned weights.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, TensorData};
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::launch::{LAYER_NORM, Launch, dispatch_2d};
use super::simd::{F32x8, SimdTask, in_lanes, with_simd};

/// `(x - mean) / sqrt(variance + eps) * weight + bias` row by row, in the plainest form. Where a row is wider than `weight`,
/// as many numbers after one another share a weight as there are more.
///
/// # Shapes
/// - `x`: `[R, W]`, `weight`, `bias`: `[A]` with `A` a divisor of `W`, output: `[R, W]`
pub fn layer_norm_reference(x: &[f32], weight: &[f32], bias: &[f32], width: usize, eps: f32) -> Vec<f32> {
    let repeat = width / weight.len();
    let row = |row: &[f32]| {
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / width as f64;
        let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / width as f64;
        let deviation = (variance + f64::from(eps)).sqrt();
        let normal = |(i, x): (usize, &f32)| {
            let [weight, bias] = [weight[i / repeat], bias[i / repeat]].map(f64::from);
            ((f64::from(*x) - mean) / deviation * weight + bias) as f32
        };
        row.iter().enumerate().map(normal).collect::<Vec<_>>()
    };
    x.chunks_exact(width).flat_map(row).collect()
}

/// `x`: `[R, W]`, `weight`, `bias`: `[A]`.
pub(super) fn launch(x: CubeTensor, weight: CubeTensor, bias: CubeTensor, eps: f32) -> CubeTensor {
    let shape = x.meta.shape().clone();
    let (rows, width) = (shape[0], shape[1]);
    let repeat = width / weight.meta.shape()[0];
    let params = [rows as u32, width as u32, repeat as u32, eps.to_bits()];
    let launch = Launch::new(LAYER_NORM, x).input(weight).input(bias).params(&params);
    let (launch, y) = launch.output(shape, DType::F32);
    launch.run(dispatch_2d(rows));
    y
}

/// [`launch`] on the CPU.
pub(super) fn normalize(x: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor, eps: f32) -> FlexTensor {
    let (shape, x, weight, bias) = (x.shape(), x.to_contiguous(), weight.to_contiguous(), bias.to_contiguous());
    let mut y = x.storage::<f32>().to_vec();
    with_simd(Normalize { weight: weight.storage(), bias: bias.storage(), width: shape[1], eps, y: &mut y });
    FlexTensor::from_data(TensorData::new(y, shape))
}

/// In place.
struct Normalize<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
    width: usize,
    eps: f32,
    y: &'a mut [f32],
}

impl SimdTask for Normalize<'_> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        let (width, repeat) = (self.width as f32, self.width / self.weight.len());
        for row in self.y.chunks_exact_mut(self.width) {
            let mean = in_lanes(row, 0.0, |sum, x| sum + x, |a, b| a + b) / width;
            // Around the mean: squares less the squared mean would cancel.
            let squares = in_lanes(row, 0.0, |sum, x| sum + (x - mean) * (x - mean), |a, b| a + b);
            let inverse = (squares / width + self.eps).sqrt().recip();
            if repeat == 1 {
                for ((y, weight), bias) in row.iter_mut().zip(self.weight).zip(self.bias) {
                    *y = (*y - mean) * (inverse * weight) + bias;
                }
            } else {
                for ((part, weight), bias) in row.chunks_exact_mut(repeat).zip(self.weight).zip(self.bias) {
                    for y in part {
                        *y = (*y - mean) * (inverse * weight) + bias;
                    }
                }
            }
        }
    }
}
