//! The gate of a SwiGLU layer.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, TensorData};
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::launch::{Launch, SWIGLU, dispatch_2d};
use super::simd::{F32x8, SimdTask, sigmoid, with_simd};

/// `silu(gate) * up`, in the plainest form.
///
/// # Shapes
/// - `x`: `[T, 2 I]`, rows of `I` gates, then `I` numbers that they let through; output: `[T, I]`
pub fn swiglu_reference(x: &[f32], width: usize) -> Vec<f32> {
    let one = |(gate, up): (&f32, &f32)| {
        let gate = f64::from(*gate);
        (gate / (1.0 + (-gate).exp()) * f64::from(*up)) as f32
    };
    let row = |row: &[f32]| row[..width].iter().zip(&row[width..]).map(one).collect::<Vec<_>>();
    x.chunks_exact(2 * width).flat_map(row).collect()
}

/// `x`: `[T, 2 I]`, output: `[T, I]`.
pub(super) fn launch(x: CubeTensor) -> CubeTensor {
    let (rows, width) = (x.meta.shape()[0], x.meta.shape()[1] / 2);
    let (launch, y) =
        Launch::new(SWIGLU, x).params(&[(rows * width) as u32, width as u32]).output([rows, width], DType::F32);
    launch.run(dispatch_2d((rows * width).div_ceil(SWIGLU.workgroup as usize)));
    y
}

/// [`launch`] on the CPU.
pub(super) fn multiply(x: &FlexTensor) -> FlexTensor {
    let (rows, width) = (x.shape()[0], x.shape()[1] / 2);
    let y = gate_rows(x.to_contiguous().storage(), width);
    FlexTensor::from_data(TensorData::new(y, [rows, width]))
}

/// Rows of `width` gates, then as many numbers that they let through.
pub(super) fn gate_rows(rows: &[f32], width: usize) -> Vec<f32> {
    let mut y = vec![0.0; rows.len() / 2];
    with_simd(Gate { rows, width, y: &mut y });
    y
}

struct Gate<'a> {
    rows: &'a [f32],
    width: usize,
    y: &'a mut [f32],
}

impl SimdTask for Gate<'_> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        for (row, y) in self.rows.chunks_exact(2 * self.width).zip(self.y.chunks_exact_mut(self.width)) {
            let (gates, rest) = row.split_at(self.width);
            for (y, (gate, up)) in y.iter_mut().zip(gates.iter().zip(rest)) {
                *y = gate * sigmoid(*gate) * up;
            }
        }
    }
}
