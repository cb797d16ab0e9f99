//! Attention of all positions to all: two products and a softmax between them.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, TensorData};
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::gemm_panels::{Batches, Panels, Product, View, forwards};
use super::launch::{Launch, SOFTMAX, dispatch_2d};
use super::simd::{F32x8, SimdTask, exp, in_lanes, with_simd};
use super::{fill_rows, matmul};

/// `softmax(scale x)` row by row, in the plainest form.
///
/// # Shapes
/// - `x`: `[R, U]`, output: `[R, U]`
pub fn softmax_reference(x: &[f32], width: usize, scale: f32) -> Vec<f32> {
    let row = |row: &[f32]| {
        let largest = row.iter().fold(f64::MIN, |largest, x| largest.max(f64::from(scale * x)));
        let powers: Vec<f64> = row.iter().map(|x| (f64::from(scale * x) - largest).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(move |power| (power / sum) as f32).collect::<Vec<_>>()
    };
    x.chunks_exact(width).flat_map(row).collect()
}

/// `softmax(q k^T / sqrt(d)) v` of one head, in the plainest form.
///
/// # Shapes
/// - `q`: `[T, d]`, `k`, `v`: `[U, d]`, output: `[T, d]`
pub fn attention_reference(q: &[f32], k: &[f32], v: &[f32], head_dim: usize) -> Vec<f32> {
    let seen = k.len() / head_dim;
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32;
    let scores = q.chunks_exact(head_dim).flat_map(|q| k.chunks_exact(head_dim).map(move |k| dot(q, k)));
    let weights = softmax_reference(&scores.collect::<Vec<_>>(), seen, (head_dim as f32).powf(-0.5));
    matmul::matmul_reference(&weights, v, &vec![0.0; head_dim], seen)
}

/// `q`: `[B, heads, T, d]`, `k`, `v`: `[B, heads, U, d]`; any strides.
pub(super) fn launch(q: CubeTensor, mut k: CubeTensor, v: CubeTensor) -> CubeTensor {
    let head_dim = q.meta.shape()[3];
    k.meta.shape_mut().swap(2, 3);
    k.meta.strides_mut().swap(2, 3);
    let scores = matmul::launch(q, k);
    matmul::launch(softmax(scores, (head_dim as f32).powf(-0.5)), v)
}

/// `softmax(scale x)` over the last dimension.
pub(super) fn softmax(x: CubeTensor, scale: f32) -> CubeTensor {
    let shape = x.meta.shape().clone();
    let width = shape[shape.num_dims() - 1];
    let rows = shape.num_elements() / width;
    let (launch, y) =
        Launch::new(SOFTMAX, x).params(&[rows as u32, width as u32, scale.to_bits()]).output(shape, DType::F32);
    launch.run(dispatch_2d(rows));
    y
}

/// Positions whose scores are in memory at a time, for each thread: they stay in the second-level cache.
const PART_ROWS: usize = 32;

/// [`launch`] on the CPU.
pub(super) fn attend(q: FlexTensor, k: FlexTensor, v: FlexTensor) -> FlexTensor {
    let tensors = [q, k, v].map(forwards);
    let [q, k, v] = tensors.each_ref().map(Batches::new);
    let [batch, heads, read, head_dim] = q.shape;
    let [_, _, seen, width] = v.shape;
    let scale = (head_dim as f32).powf(-0.5);
    let mut out = vec![0.0; batch * heads * read * width];
    for (head, out) in out.chunks_exact_mut((read * width).max(1)).enumerate() {
        let head = [head / heads, head % heads];
        let mut gathered = Vec::new();
        let queries = q.matrix(head).with_whole_rows(&mut gathered);
        let (keys, values) = (Panels::new(k.matrix(head).transposed()), Panels::new(v.matrix(head)));
        fill_rows(out, width, 2 * seen * head_dim, |first, out| {
            for (part, out) in out.chunks_mut(PART_ROWS * width).enumerate() {
                let rows = out.len() / width;
                let mut weights = vec![0.0; rows * seen];
                keys.pair::<Product>(queries.part(first + part * PART_ROWS, rows), &mut weights);
                with_simd(Softmax { rows: &mut weights, width: seen, scale });
                values.pair::<Product>(View::rows(&weights, seen), out);
            }
        });
    }
    FlexTensor::from_data(TensorData::new(out, [batch, heads, read, width]))
}

/// [`softmax`] on the CPU.
pub(super) fn weigh(scores: &FlexTensor) -> FlexTensor {
    let (shape, scores) = (scores.shape(), scores.to_contiguous());
    let width = shape[shape.num_dims() - 1];
    let mut weights = scores.storage::<f32>().to_vec();
    const WORK: usize = 16; // multiplications a number
    fill_rows(&mut weights, width, WORK * width, |_, rows| with_simd(Softmax { rows, width, scale: 1.0 }));
    FlexTensor::from_data(TensorData::new(weights, shape))
}

/// `softmax(scale x)` row by row, in place.
struct Softmax<'a> {
    rows: &'a mut [f32],
    width: usize,
    scale: f32,
}

impl SimdTask for Softmax<'_> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        for row in self.rows.chunks_exact_mut(self.width) {
            softmax_in_place(row, self.scale);
        }
    }
}

/// `softmax(scale x)`, in lanes that the compiler makes vectors of.
#[inline(always)]
pub(super) fn softmax_in_place(row: &mut [f32], scale: f32) {
    let largest = in_lanes(row, f32::MIN, |largest, x| if x > largest { x } else { largest }, f32::max);
    for value in row.iter_mut() {
        *value = exp((*value - largest) * scale);
    }
    let inverse = 1.0 / in_lanes(row, 0.0, |sum, x| sum + x, |a, b| a + b);
    for value in row {
        *value *= inverse;
    }
}
