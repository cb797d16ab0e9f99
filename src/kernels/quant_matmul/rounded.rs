//! The packed product on the CPU with activations of 16 bits: integers multiply twice as many at a time as floats, and
//! weights need no conversion. Sums of a block are exact; blocks add up in f32.
#![allow(clippy::needless_range_loop, reason = "with iterators the inner loops stay rolled and run at half the speed")]

use std::marker::PhantomData;

use super::cpu::Packed;
use super::{BLOCK, WeightKind};
use crate::kernels::simd::{F32x8, I16Pairs, I16x32, LANES, SimdTask, with_simd};
use crate::kernels::{fill_rows, for_each_row};

/// Tokens that are multiplied with a panel at a time: in wasm their sums take eight of its sixteen registers.
const TILE_TOKENS: usize = 4;
/// Weight rows that a thread takes at a time.
const CHUNK_ROWS: usize = 8 * PANEL_ROWS;

/// `x W^T` for weights in blocks.
///
/// # Shapes
/// - `x`: `[T, K]`, result: `[T, N]`
pub fn product(x: &[f32], packed: Packed<'_>) -> Vec<f32> {
    match packed.shape.kind {
        WeightKind::Q8_0 => product_with::<Q8_0>(x, packed),
        WeightKind::Q4_0 => product_with::<Q4_0>(x, packed),
        WeightKind::Q4_1 => product_with::<Q4_1>(x, packed),
        kind @ (WeightKind::F32 | WeightKind::F16 | WeightKind::BF16) => unreachable!("{kind:?} is not in blocks"),
    }
}

fn product_with<W: Weights>(x: &[f32], packed: Packed<'_>) -> Vec<f32> {
    let tokens = x.len() / packed.shape.columns;
    let x = Rounded::new(x);
    if tokens == 1 { vector::<W>(&x, packed) } else { matrix::<W>(&x, tokens, packed) }
}

/// One token: each row of weights is read once, straight from its packed form.
fn vector<W: Weights>(x: &Rounded, packed: Packed<'_>) -> Vec<f32> {
    let factors = &ScaleFactors::new::<W>(x);
    let mut out = vec![0.0; packed.shape.rows];
    fill_rows(&mut out, 1, packed.shape.columns, |first_row, out| {
        with_simd(DotRows::<W> { weights: PhantomData, packed, x, factors, first_row, out });
    });
    out
}

/// Several tokens: what unpacking costs is shared by them.
fn matrix<W: Weights>(x: &Rounded, tokens: usize, packed: Packed<'_>) -> Vec<f32> {
    let rows = packed.shape.rows;
    let count = |chunk: usize| CHUNK_ROWS.min(rows - chunk * CHUNK_ROWS);
    let chunks = for_each_row(rows.div_ceil(CHUNK_ROWS), |chunk| {
        let (first_row, rows) = (chunk * CHUNK_ROWS, count(chunk));
        let mut out = vec![0.0; tokens * rows.next_multiple_of(PANEL_ROWS)];
        with_simd(DotPanels::<W> { weights: PhantomData, packed, x, tokens, first_row, rows, out: &mut out });
        out
    });
    let mut out = Vec::with_capacity(tokens * rows);
    for token in 0..tokens {
        for (chunk, values) in chunks.iter().enumerate() {
            let width = values.len() / tokens;
            out.extend_from_slice(&values[token * width..][..count(chunk)]);
        }
    }
    out
}

/// Activations in blocks: `x = scale * number`, rounded.
struct Rounded {
    numbers: Vec<[i16; BLOCK]>,
    scales: Vec<f32>,
    /// Sums before rounding: what an offset of weights is multiplied with.
    sums: Vec<f32>,
}

impl Rounded {
    fn new(x: &[f32]) -> Self {
        let blocks = x.as_chunks::<BLOCK>().0;
        let [scales, sums] = [vec![0.0; blocks.len()], vec![0.0; blocks.len()]];
        let mut rounded = Self { numbers: vec![[0; BLOCK]; blocks.len()], scales, sums };
        with_simd(Round { blocks, rounded: &mut rounded });
        rounded
    }
}

struct Round<'a> {
    blocks: &'a [[f32; BLOCK]],
    rounded: &'a mut Rounded,
}

impl SimdTask for Round<'_> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        let Rounded { numbers, scales, sums } = self.rounded;
        for (at, block) in self.blocks.iter().enumerate() {
            let block = block.as_chunks().0;
            let (mut sum, mut largest) = (V::zero(), V::zero());
            for part in block {
                sum = sum.add(V::load(part));
                largest = largest.max_size(V::load(part));
            }
            let (sum, largest) = (sum.sum(), largest.largest());
            let inverse = if largest > 0.0 { f32::from(i16::MAX) / largest } else { 0.0 };
            let mut parts = [V::zero(); BLOCK / LANES];
            for (scaled, part) in parts.iter_mut().zip(block) {
                *scaled = V::load(part).mul(V::splat(inverse));
            }
            V::to_whole(parts).store(&mut numbers[at]);
            // What is not finite stays so.
            scales[at] = if sum.is_finite() { largest / f32::from(i16::MAX) } else { f32::NAN };
            sums[at] = sum;
        }
    }
}

/// `out[i] = W[first_row + i] . x`.
struct DotRows<'a, W> {
    weights: PhantomData<W>,
    packed: Packed<'a>,
    x: &'a Rounded,
    factors: &'a ScaleFactors,
    first_row: usize,
    out: &'a mut [f32],
}

/// What the f16 numbers of a row of weights are multiplied with, in their order and in whole vectors.
struct ScaleFactors {
    /// Makes scales those of a product; 0 where a minimum stands.
    scales: Vec<[f32; LANES]>,
    /// Makes all numbers parts of what is added to a row's sum; empty for kinds without an offset.
    offsets: Vec<[f32; LANES]>,
}

impl ScaleFactors {
    fn new<W: Weights>(x: &Rounded) -> Self {
        let vectors = |numbers: Vec<f32>| {
            let (whole, rest) = numbers.as_chunks();
            let mut vectors = whole.to_vec();
            if !rest.is_empty() {
                vectors.push(std::array::from_fn(|lane| rest.get(lane).copied().unwrap_or(0.0)));
            }
            vectors
        };
        if W::HAS_OFFSET {
            // A scale, then a minimum; quants are less 8.
            Self {
                scales: vectors(x.scales.iter().flat_map(|&scale| [scale, 0.0]).collect()),
                offsets: vectors(x.sums.iter().flat_map(|&sum| [8.0 * sum, sum]).collect()),
            }
        } else {
            Self { scales: vectors(x.scales.clone()), offsets: Vec::new() }
        }
    }
}

/// Rows that are read side by side, each from another part of memory: while one waits for a page, the others go on. One after
/// the other, rows of a large model are read at a quarter of the speed.
const STREAMS: usize = 4;

impl<W: Weights> SimdTask for DotRows<'_, W> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        let stride = self.out.len().div_ceil(STREAMS);
        let mut scales = vec![[[0.0; LANES]; STREAMS]; self.factors.scales.len()];
        for at in 0..stride {
            // Where a stream has a row less, it reads its last one again.
            let rows: [usize; STREAMS] =
                std::array::from_fn(|stream| self.first_row + (at + stream * stride).min(self.out.len() - 1));
            let sums = dot_rows::<W, V>(self.packed, self.x, self.factors, rows, &mut scales);
            for (row, sum) in rows.into_iter().zip(sums) {
                self.out[row - self.first_row] = sum;
            }
        }
    }
}

#[inline(always)]
fn dot_rows<W: Weights, V: F32x8>(
    packed: Packed<'_>,
    x: &Rounded,
    factors: &ScaleFactors,
    rows: [usize; STREAMS],
    scales: &mut [[[f32; LANES]; STREAMS]],
) -> [f32; STREAMS] {
    let numbers = x.numbers.as_slice();
    let scales_per_block = if W::HAS_OFFSET { 2 } else { 1 };
    let scales_per_row = scales_per_block * numbers.len();
    let mut totals = [0.0; STREAMS];
    for stream in 0..STREAMS {
        let bits = &packed.scales[rows[stream] * scales_per_row..][..scales_per_row];
        let mut offsets = V::zero();
        for at in 0..scales.len() {
            let bits = &bits[at * LANES..];
            let values = match bits.first_chunk() {
                Some(whole) => V::from_f16(whole),
                None => V::from_f16(&padded(bits)),
            };
            values.mul(V::load(&factors.scales[at])).store(&mut scales[at][stream]);
            if W::HAS_OFFSET {
                offsets = values.mul_add(V::load(&factors.offsets[at]), offsets);
            }
        }
        if W::HAS_OFFSET {
            totals[stream] = offsets.sum();
        }
    }
    // Of one length, as the compiler then sees, and checks no bound in the loop.
    let quants: [&[_]; STREAMS] =
        std::array::from_fn(|stream| &packed.row_quants::<W::Bytes>(rows[stream])[..numbers.len()]);
    let mut sums = [V::Whole::zero_sums(); STREAMS];
    for column in 0..numbers.len() {
        let x = V::Whole::load(&numbers[column]);
        let (at, lane) = (scales_per_block * column / LANES, scales_per_block * column % LANES);
        let scales = &scales[at];
        for stream in 0..STREAMS {
            let quants = W::quants::<V>(&quants[stream][column]);
            sums[stream] = quants.add_products(x, scales[stream][lane], sums[stream]);
        }
    }
    for stream in 0..STREAMS {
        totals[stream] += V::Whole::total(sums[stream]);
    }
    totals
}

/// Filled up with zeros.
fn padded(values: &[u16]) -> [u16; LANES] {
    std::array::from_fn(|lane| values.get(lane).copied().unwrap_or(0))
}

/// Weight rows whose sums are the lanes of one [`F32x8`].
const PANEL_ROWS: usize = LANES;

/// A panel of weight rows, unpacked. Pairs of neighbours in a row lie beside the same pairs of the other rows.
struct Panel {
    numbers: Vec<[[i16; 2 * PANEL_ROWS]; BLOCK / 2]>,
    scales: Vec<[f32; PANEL_ROWS]>,
    offsets: Vec<[f32; PANEL_ROWS]>,
}

impl Panel {
    fn new(blocks: usize) -> Self {
        Self {
            numbers: vec![[[0; 2 * PANEL_ROWS]; BLOCK / 2]; blocks],
            scales: vec![[0.0; PANEL_ROWS]; blocks],
            offsets: vec![[0.0; PANEL_ROWS]; blocks],
        }
    }

    /// Fewer `rows` than a panel has leave old numbers in the others.
    #[inline(always)]
    fn fill<W: Weights, V: F32x8>(&mut self, packed: Packed<'_>, first_row: usize, rows: usize) {
        let mut numbers = [0; BLOCK];
        for row in 0..rows {
            let quants = packed.row_quants::<W::Bytes>(first_row + row);
            for column in 0..self.numbers.len() {
                W::quants::<V>(&quants[column]).store(&mut numbers);
                for (pairs, pair) in self.numbers[column].iter_mut().zip(numbers.as_chunks::<2>().0) {
                    pairs.as_chunks_mut::<2>().0[row] = *pair;
                }
                let block = packed.block_index(first_row + row, column);
                (self.scales[column][row], self.offsets[column][row]) = scale_and_offset::<W, V>(packed, block);
            }
        }
    }
}

/// `out[t, i] = W[first_row + i] . x[t]` for several tokens; rows of `out` are whole panels.
struct DotPanels<'a, W> {
    weights: PhantomData<W>,
    packed: Packed<'a>,
    x: &'a Rounded,
    tokens: usize,
    first_row: usize,
    rows: usize,
    out: &'a mut [f32],
}

impl<W: Weights> SimdTask for DotPanels<'_, W> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        let width = self.out.len() / self.tokens;
        let mut panel = Panel::new(self.packed.shape.blocks_per_row());
        for first in (0..self.rows).step_by(PANEL_ROWS) {
            panel.fill::<W, V>(self.packed, self.first_row + first, PANEL_ROWS.min(self.rows - first));
            for first_token in (0..self.tokens).step_by(TILE_TOKENS) {
                let sums = dot_tile::<W, V>(&panel, self.x, first_token, self.tokens - 1);
                for (token, sums) in (first_token..self.tokens).zip(sums) {
                    if let Some(out) = self.out[token * width + first..].first_chunk_mut() {
                        sums.store(out);
                    }
                }
            }
        }
    }
}

/// All dot products of a panel with a few tokens; past `last_token` with that one again.
#[inline(always)]
fn dot_tile<W: Weights, V: F32x8>(
    panel: &Panel,
    x: &Rounded,
    first_token: usize,
    last_token: usize,
) -> [V; TILE_TOKENS] {
    let blocks = panel.numbers.len();
    // Of one length, as the compiler then sees, and checks no bound in the loop.
    let (w_scales, w_offsets) = (&panel.scales[..blocks], &panel.offsets[..blocks]);
    // Not `map`, which is a call of its own in wasm, six in a hundred of the product.
    let first_block = |i: usize| (first_token + i).min(last_token) * blocks;
    let numbers: [&[_]; TILE_TOKENS] = std::array::from_fn(|i| &x.numbers[first_block(i)..][..blocks]);
    let scales: [&[_]; TILE_TOKENS] = std::array::from_fn(|i| &x.scales[first_block(i)..][..blocks]);
    let x_sums: [&[_]; TILE_TOKENS] = std::array::from_fn(|i| &x.sums[first_block(i)..][..blocks]);

    let mut sums = [V::zero(); TILE_TOKENS];
    for at in 0..blocks {
        let mut whole = [V::Pairs::zero_sums(); TILE_TOKENS];
        for pair in 0..BLOCK / 2 {
            let weights = V::Pairs::load(&panel.numbers[at][pair]);
            for token in 0..TILE_TOKENS {
                let x = V::Pairs::splat(numbers[token][at].as_chunks().0[pair]);
                whole[token] = weights.add_dots(x, whole[token]);
            }
        }
        let (w_scale, w_offset) = (V::load(&w_scales[at]), V::load(&w_offsets[at]));
        for token in 0..TILE_TOKENS {
            let scale = w_scale.mul(V::splat(scales[token][at]));
            sums[token] = V::Pairs::to_floats(whole[token]).mul_add(scale, sums[token]);
            if W::HAS_OFFSET {
                sums[token] = w_offset.mul_add(V::splat(x_sums[token][at]), sums[token]);
            }
        }
    }
    sums
}

/// How weights of one kind are read: `weight = scale * quant + offset`.
trait Weights: Send + Sync {
    /// Whether a minimum follows each scale.
    const HAS_OFFSET: bool;
    /// The quants of a block.
    type Bytes: bytemuck::Pod;

    /// The 32 quants of a block.
    fn quants<V: F32x8>(bytes: &Self::Bytes) -> V::Whole;
}

#[allow(non_camel_case_types, reason = "ggml's own name")]
struct Q8_0;
#[allow(non_camel_case_types, reason = "ggml's own name")]
struct Q4_0;
#[allow(non_camel_case_types, reason = "ggml's own name")]
struct Q4_1;

impl Weights for Q8_0 {
    const HAS_OFFSET: bool = false;
    type Bytes = [u8; 32];

    #[inline(always)]
    fn quants<V: F32x8>(bytes: &[u8; 32]) -> V::Whole {
        V::Whole::from_i8(bytes)
    }
}

impl Weights for Q4_0 {
    const HAS_OFFSET: bool = false;
    type Bytes = [u8; 16];

    #[inline(always)]
    fn quants<V: F32x8>(bytes: &[u8; 16]) -> V::Whole {
        V::Whole::from_nibbles(bytes)
    }
}

impl Weights for Q4_1 {
    const HAS_OFFSET: bool = true;
    type Bytes = [u8; 16];

    /// Less 8, which the offset gives back.
    #[inline(always)]
    fn quants<V: F32x8>(bytes: &[u8; 16]) -> V::Whole {
        V::Whole::from_nibbles(bytes)
    }
}

/// Scale and offset of a block.
#[inline(always)]
fn scale_and_offset<W: Weights, V: F32x8>(packed: Packed<'_>, block: usize) -> (f32, f32) {
    if W::HAS_OFFSET {
        let scale = V::f16(packed.scales[2 * block]);
        (scale, 8.0 * scale + V::f16(packed.scales[2 * block + 1]))
    } else {
        (V::f16(packed.scales[block]), 0.0)
    }
}
