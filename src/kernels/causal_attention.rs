//! Attention of new positions to all positions of a cache up to themselves; several query heads share a head of keys and
//! values (GQA, <https://arxiv.org/abs/2305.13245>).

use burn::backend::TensorMetadata;
use burn::tensor::{DType, TensorData};
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::append_kv::{Heads, rotate, rotate_reference};
use super::attention::{attention_reference, softmax_in_place};
use super::fill_rows;
use super::launch::{CAUSAL_ATTENTION, Launch, REDUCE_ATTENTION, dispatch_2d};
use super::simd::{F32x8, LANES, SimdTask, with_simd};

/// Position `start + t` looks at positions up to itself, in the plainest form.
///
/// # Shapes
/// - `q`: `[T, heads, D]`, not yet turned; `rotation`: `[T, D]`; `keys`, `values`: `shape`, which is `[KV, capacity, D]`
/// - output: `[T, heads, D]`
pub fn causal_attention_reference(
    q: &[f32],
    rotation: &[f32],
    [keys, values]: [&[f32]; 2],
    [key_heads, capacity, head_dim]: [usize; 3],
    start: usize,
) -> Vec<f32> {
    let tokens = rotation.len() / head_dim;
    let heads = q.len() / tokens / head_dim;
    let q = rotate_reference(q, rotation, head_dim);
    let one = |(at, q): (usize, &[f32])| {
        let (token, head) = (at / heads, at % heads);
        let of_head = |cache: &[f32]| {
            let first = head / (heads / key_heads) * capacity * head_dim;
            cache[first..][..(start + token + 1) * head_dim].to_vec()
        };
        attention_reference(q, &of_head(keys), &of_head(values), head_dim)
    };
    q.chunks_exact(head_dim).enumerate().flat_map(one).collect()
}

/// Positions that one workgroup goes over where there is a single new one: a head alone would keep one of a GPU's many
/// processors busy, for as long as the context is.
const SPAN: usize = 512;

/// `rows`: `[T, (H + 2 KV) x D]`, `rotation`: `[capacity, D]`, `offset`: `[1]`, `keys`, `values`: `[KV, capacity, D]`, where a
/// single new position is written and several have been already; output: `[T, H x D]`.
pub(super) fn launch(
    rows: CubeTensor,
    rotation: CubeTensor,
    offset: CubeTensor,
    keys: &CubeTensor,
    values: &CubeTensor,
) -> CubeTensor {
    let (tokens, width) = (rows.meta.shape()[0], rows.meta.shape()[1]);
    let Heads { queries, keys: key_heads, dim, capacity } = Heads::new(width, keys.meta.shape());
    // By the capacity, because only the device knows the offset: a span that nothing is in yet ends at once.
    let (spans, span) = if tokens == 1 { (capacity.div_ceil(SPAN), SPAN) } else { (1, capacity) };
    let sizes = [tokens, queries, key_heads, dim, capacity].map(|number| number as u32);
    let params = [&sizes[..], &[scale(dim).to_bits(), spans as u32, span as u32]].concat();
    let launch = Launch::new(CAUSAL_ATTENTION, rows)
        .input(rotation)
        .input(offset)
        .params(&params)
        .in_place(keys)
        .in_place(values);
    let groups = dispatch_2d(tokens * queries * spans);
    let shape = [tokens, queries * dim];
    if spans == 1 {
        let (launch, y) = launch.output(shape, DType::F32);
        launch.run(groups);
        return y;
    }
    let (launch, found) = launch.output([tokens * queries, spans, dim + 4], DType::F32);
    launch.run(groups);
    let params = [tokens * queries, spans, dim].map(|number| number as u32);
    let (launch, y) = Launch::new(REDUCE_ATTENTION, found).params(&params).output(shape, DType::F32);
    launch.run(dispatch_2d(tokens * queries));
    y
}

fn scale(head_dim: usize) -> f32 {
    (head_dim as f32).powf(-0.5)
}

/// [`launch`] on the CPU.
pub(super) fn attend(
    rows: &FlexTensor,
    rotation: &FlexTensor,
    offset: &FlexTensor,
    keys: &FlexTensor,
    values: &FlexTensor,
) -> FlexTensor {
    let start = offset.storage::<u32>()[0] as usize;
    let heads = Heads::new(rows.shape()[1], &keys.shape());
    let (tokens, rows, rotation) = (rows.shape()[0], rows.to_contiguous(), rotation.to_contiguous());
    let width = heads.queries * heads.dim;
    let mut out = vec![0.0; tokens * width];
    let group_width = width / heads.keys;
    let work = 2 * group_width * (start + tokens);
    fill_rows(&mut out, group_width, work, |first_row, out| {
        with_simd(Attend {
            rows: rows.storage(),
            rotation: rotation.storage(),
            keys: keys.storage(),
            values: values.storage(),
            heads,
            group_width,
            start,
            first_row,
            out,
        });
    });
    FlexTensor::from_data(TensorData::new(out, [tokens, width]))
}

/// Some rows of the output as `[T x KV, H / KV x D]`: a position's query heads that share their keys.
struct Attend<'a> {
    rows: &'a [f32],
    rotation: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    heads: Heads,
    group_width: usize,
    start: usize,
    first_row: usize,
    out: &'a mut [f32],
}

/// Positions whose keys, or values, stay in the first-level cache while all heads that share them go over them.
const CACHED: usize = 64;

impl SimdTask for Attend<'_> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        let Heads { keys: key_heads, dim: head_dim, capacity, .. } = self.heads;
        let group = self.group_width / head_dim;
        let last_row = self.first_row + self.out.len() / self.group_width - 1;
        let mut all_weights = vec![0.0; group * (self.start + last_row / key_heads + 1)];
        let mut rotated = vec![0.0; self.group_width];
        for (row, out) in (self.first_row..).zip(self.out.chunks_exact_mut(self.group_width)) {
            let (token, head) = (row / key_heads, row % key_heads);
            let q = &self.rows[token * self.heads.width() + head * self.group_width..][..self.group_width];
            let first = head * capacity * head_dim;
            let seen = self.start + token + 1;
            let [keys, values] = [self.keys, self.values].map(|cache| &cache[first..][..seen * head_dim]);
            let angles = &self.rotation[(seen - 1) * head_dim..][..head_dim];
            for (q, rotated) in q.chunks_exact(head_dim).zip(rotated.chunks_exact_mut(head_dim)) {
                rotate(q, angles, rotated);
            }
            let weights = &mut all_weights[..group * seen];
            // No adapters with closures: those would be compiled without SIMD.
            for (part, keys) in keys.chunks(CACHED * head_dim).enumerate() {
                for (q, weights) in rotated.chunks_exact(head_dim).zip(weights.chunks_exact_mut(seen)) {
                    let weights = &mut weights[part * CACHED..];
                    for (weight, key) in weights.iter_mut().zip(keys.chunks_exact(head_dim)) {
                        *weight = dot::<V>(q, key);
                    }
                }
            }
            for weights in weights.chunks_exact_mut(seen) {
                softmax_in_place(weights, scale(head_dim));
            }
            for (part, values) in values.chunks(CACHED * head_dim).enumerate() {
                for (weights, out) in weights.chunks_exact(seen).zip(out.chunks_exact_mut(head_dim)) {
                    add_weighted::<V>(&weights[part * CACHED..], values, out);
                }
            }
        }
    }
}

#[inline(always)]
fn dot<V: F32x8>(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sum = V::zero();
    for (a, b) in a.iter().zip(b) {
        sum = V::load(a).mul_add(V::load(b), sum);
    }
    let mut total = sum.sum();
    for (a, b) in a_rest.iter().zip(b_rest) {
        total += a * b;
    }
    total
}

/// Vectors of a row that are added up at a time: as many sums stay in registers, and none waits for another.
const PART: usize = 4;

/// `out += weights^T rows`, of as many numbers a row as `out` has.
#[inline(always)]
fn add_weighted<V: F32x8>(weights: &[f32], rows: &[f32], out: &mut [f32]) {
    let width = out.len();
    let (parts, rest) = out.as_chunks_mut::<{ PART * LANES }>();
    for (at, out) in parts.iter_mut().enumerate() {
        let out = out.as_chunks_mut::<LANES>().0;
        let mut sums = [V::zero(); PART];
        for (sum, out) in sums.iter_mut().zip(out.iter()) {
            *sum = V::load(out);
        }
        for (weight, row) in weights.iter().zip(rows.chunks_exact(width)) {
            let Some(row) = row[at * PART * LANES..].first_chunk::<{ PART * LANES }>() else { continue };
            let weight = V::splat(*weight);
            for (sum, row) in sums.iter_mut().zip(row.as_chunks().0) {
                *sum = V::load(row).mul_add(weight, *sum);
            }
        }
        for (sum, out) in sums.into_iter().zip(out) {
            sum.store(out);
        }
    }
    let first = width - rest.len();
    for (weight, row) in weights.iter().zip(rows.chunks_exact(width)) {
        for (out, value) in rest.iter_mut().zip(&row[first..]) {
            *out += weight * value;
        }
    }
}
