//! A row divided by its root mean square, times a learned weight.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, TensorData};
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::launch::{Launch, RMS_NORM, dispatch_2d};
use super::simd::{F32x8, SimdTask, in_lanes, with_simd};

/// `x / sqrt(mean(x^2) + eps) * weight` row by row, in the plainest form.
///
/// # Shapes
/// - `x`: `[T, H]`, `weight`: `[H]`, output: `[T, H]`
pub fn rms_norm_reference(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let row = |row: &[f32]| {
        let squares: f64 = row.iter().map(|x| f64::from(*x).powi(2)).sum();
        let size = (squares / row.len() as f64 + f64::from(eps)).sqrt();
        row.iter().zip(weight).map(|(x, weight)| (f64::from(*x) / size * f64::from(*weight)) as f32).collect::<Vec<_>>()
    };
    x.chunks_exact(weight.len()).flat_map(row).collect()
}

/// `x`: `[T, H]`, `weight`: `[H]`.
pub(super) fn launch(x: CubeTensor, weight: CubeTensor, eps: f32) -> CubeTensor {
    let shape = x.meta.shape().clone();
    let (rows, width) = (shape[0], shape[1]);
    let params = [rows as u32, width as u32, eps.to_bits()];
    let (launch, y) = Launch::new(RMS_NORM, x).input(weight).params(&params).output(shape, DType::F32);
    launch.run(dispatch_2d(rows));
    y
}

/// [`launch`] on the CPU.
pub(super) fn normalize(x: &FlexTensor, weight: &FlexTensor, eps: f32) -> FlexTensor {
    let (shape, x, weight) = (x.shape(), x.to_contiguous(), weight.to_contiguous());
    let mut y = x.storage::<f32>().to_vec();
    with_simd(Normalize { weight: weight.storage(), eps, y: &mut y });
    FlexTensor::from_data(TensorData::new(y, shape))
}

/// In place.
struct Normalize<'a> {
    weight: &'a [f32],
    eps: f32,
    y: &'a mut [f32],
}

impl SimdTask for Normalize<'_> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        for row in self.y.chunks_exact_mut(self.weight.len()) {
            let squares = in_lanes(row, 0.0, |sum, x| sum + x * x, |a, b| a + b);
            let inverse = (squares / self.weight.len() as f32 + self.eps).sqrt().recip();
            for (y, weight) in row.iter_mut().zip(self.weight) {
                *y *= inverse * weight;
            }
        }
    }
}
