//! The packed product on the CPU with activations of 16 bits: whole numbers multiply twice as many at a time as floats, and
//! weights need no conversion. Sums of a block are exact; blocks add up in f32.
#![allow(clippy::needless_range_loop, reason = "with iterators the inner loops stay rolled and run at half the speed")]

use std::marker::PhantomData;

use super::cpu::{CHUNK_ROWS, PARALLEL_WORK, Packed, for_each_chunk, thread_count, turn};
use super::simd::{F32x8, I16x32, SimdTask, with_simd};
use super::{BLOCK, PackedShape, WeightKind};

/// Weight rows and tokens of one tile: a block of two tokens stays in registers while rows pass by.
const TILE_ROWS: usize = 4;
const TILE_TOKENS: usize = 2;

/// `x W^T` for weights in blocks.
///
/// # Shapes
/// - `x`: `[T, K]`, result: `[T, N]`
pub fn matmul(x: &[f32], words: &[u32], shape: PackedShape) -> Vec<f32> {
    match shape.kind {
        WeightKind::Q8_0 => product::<Q8_0>(x, words, shape),
        WeightKind::Q4_0 => product::<Q4_0>(x, words, shape),
        WeightKind::Q4_1 => product::<Q4_1>(x, words, shape),
        WeightKind::F32 | WeightKind::F16 | WeightKind::BF16 => unreachable!("{:?} is not in blocks", shape.kind),
    }
}

fn product<W: Weights>(x: &[f32], words: &[u32], shape: PackedShape) -> Vec<f32> {
    let (tokens, rows) = (x.len() / shape.columns, shape.rows);
    let parallel = x.len() * rows >= PARALLEL_WORK;
    let (packed, x) = (Packed::open(words, shape), &Rounded::new(x));
    // Threads own whole rows, so the product is made as [N, T] and turned at the end.
    let mut out = vec![0.0; rows * tokens];
    if tokens == 1 {
        let chunk_rows = if parallel { rows.div_ceil(4 * thread_count()).max(8) } else { rows };
        for_each_chunk(parallel, &mut out, chunk_rows, |chunk, out| {
            with_simd(DotRows::<W> { weights: PhantomData, packed, x, first_row: chunk * chunk_rows, out });
        });
        out
    } else {
        for_each_chunk(parallel, &mut out, CHUNK_ROWS * tokens, |chunk, out| {
            with_simd(DotTiles::<W> { weights: PhantomData, packed, x, first_row: chunk * CHUNK_ROWS, tokens, out });
        });
        turn(&out, tokens)
    }
}

/// Activations of all tokens in blocks: `x = scale * number`, rounded.
struct Rounded {
    numbers: Vec<[i16; BLOCK]>,
    scales: Vec<f32>,
    /// Sums before rounding: what an offset of weights is multiplied with.
    sums: Vec<f32>,
}

impl Rounded {
    fn new(x: &[f32]) -> Self {
        let blocks = x.as_chunks::<BLOCK>().0;
        let mut rounded = Self { numbers: Vec::new(), scales: Vec::new(), sums: Vec::new() };
        rounded.numbers.reserve_exact(blocks.len());
        for block in blocks {
            let sum: f32 = block.iter().sum();
            let largest = block.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            let inverse = if largest > 0.0 { f32::from(i16::MAX) / largest } else { 0.0 };
            rounded.numbers.push(block.map(|value| (value * inverse).round_ties_even() as i16));
            // What is not finite stays so.
            let scale = largest / f32::from(i16::MAX);
            rounded.scales.push(if sum.is_finite() { scale } else { f32::NAN });
            rounded.sums.push(sum);
        }
        rounded
    }
}

/// `out[i] = W[first_row + i] . x` for one token.
struct DotRows<'a, W> {
    weights: PhantomData<W>,
    packed: Packed<'a>,
    x: &'a Rounded,
    first_row: usize,
    out: &'a mut [f32],
}

impl<W: Weights> SimdTask for DotRows<'_, W> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        let numbers = self.x.numbers.as_slice();
        let (scales, x_sums) = (&self.x.scales[..numbers.len()], &self.x.sums[..numbers.len()]);
        for (row, out) in (self.first_row..).zip(self.out) {
            let mut sums = V::Whole::zero_sums();
            let mut offsets = 0.0;
            for column in 0..numbers.len() {
                let block = W::block::<V>(self.packed, row, column);
                let x = V::Whole::load(&numbers[column]);
                sums = block.quants.add_products(x, block.scale * scales[column], sums);
                if W::HAS_OFFSET {
                    offsets += block.offset * x_sums[column];
                }
            }
            *out = V::Whole::total(sums) + offsets;
        }
    }
}

/// `out[i, t] = W[first_row + i] . x[t]` for several tokens.
struct DotTiles<'a, W> {
    weights: PhantomData<W>,
    packed: Packed<'a>,
    x: &'a Rounded,
    first_row: usize,
    tokens: usize,
    out: &'a mut [f32],
}

/// A few rows of weights, unpacked.
struct Scratch {
    numbers: Vec<[i16; BLOCK]>,
    scales: Vec<f32>,
    offsets: Vec<f32>,
}

impl<W: Weights> SimdTask for DotTiles<'_, W> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        let (tokens, blocks) = (self.tokens, self.packed.shape.blocks_per_row());
        let mut scratch = Scratch {
            numbers: vec![[0; BLOCK]; TILE_ROWS * blocks],
            scales: vec![0.0; TILE_ROWS * blocks],
            offsets: vec![0.0; TILE_ROWS * blocks],
        };
        let first_rows = (self.first_row..).step_by(TILE_ROWS);
        for (first_row, out) in first_rows.zip(self.out.chunks_mut(TILE_ROWS * tokens)) {
            // A last tile of fewer rows leaves old numbers in the scratch, whose sums are not stored.
            for row in 0..out.len() / tokens {
                for column in 0..blocks {
                    let (at, block) = (row * blocks + column, W::block::<V>(self.packed, first_row + row, column));
                    block.quants.store(&mut scratch.numbers[at]);
                    (scratch.scales[at], scratch.offsets[at]) = (block.scale, block.offset);
                }
            }
            for first_token in (0..tokens).step_by(TILE_TOKENS) {
                // The last of an odd number is taken twice, and its second sums are not stored.
                let of_tile = [first_token, (first_token + 1).min(tokens - 1)];
                let sums = dot_tile::<W, V>(&scratch, self.x, of_tile, blocks);
                for (out, sums) in out.chunks_exact_mut(tokens).zip(sums) {
                    for (out, sum) in out[first_token..].iter_mut().zip(sums) {
                        *out = sum;
                    }
                }
            }
        }
    }
}

/// All dot products of the rows in the scratch with a few tokens.
#[inline(always)]
fn dot_tile<W: Weights, V: F32x8>(
    weights: &Scratch,
    x: &Rounded,
    tokens: [usize; TILE_TOKENS],
    blocks: usize,
) -> [[f32; TILE_TOKENS]; TILE_ROWS] {
    // Of one length, as the compiler then sees, and checks no bound in the loop.
    let numbers = tokens.map(|token| &x.numbers[token * blocks..][..blocks]);
    let scales = tokens.map(|token| &x.scales[token * blocks..][..blocks]);
    let x_sums = tokens.map(|token| &x.sums[token * blocks..][..blocks]);
    let w_numbers: [_; TILE_ROWS] = std::array::from_fn(|row| &weights.numbers[row * blocks..][..blocks]);
    let w_scales: [_; TILE_ROWS] = std::array::from_fn(|row| &weights.scales[row * blocks..][..blocks]);
    let w_offsets: [_; TILE_ROWS] = std::array::from_fn(|row| &weights.offsets[row * blocks..][..blocks]);

    let mut sums = [[V::Whole::zero_sums(); TILE_TOKENS]; TILE_ROWS];
    let mut offsets = [[0.0; TILE_TOKENS]; TILE_ROWS];
    for at in 0..blocks {
        let values: [V::Whole; TILE_TOKENS] = std::array::from_fn(|token| V::Whole::load(&numbers[token][at]));
        for row in 0..TILE_ROWS {
            let quants = V::Whole::load(&w_numbers[row][at]);
            for token in 0..TILE_TOKENS {
                let scale = w_scales[row][at] * scales[token][at];
                sums[row][token] = quants.add_products(values[token], scale, sums[row][token]);
                if W::HAS_OFFSET {
                    offsets[row][token] += w_offsets[row][at] * x_sums[token][at];
                }
            }
        }
    }
    std::array::from_fn(|row| std::array::from_fn(|token| V::Whole::total(sums[row][token]) + offsets[row][token]))
}

/// 32 weights of a row: `weight = scale * quant + offset`.
struct Block<I> {
    quants: I,
    scale: f32,
    offset: f32,
}

/// How weights of one kind are read.
trait Weights: Send + Sync {
    const HAS_OFFSET: bool;

    /// Weights `32 * column ..` of a row.
    fn block<V: F32x8>(packed: Packed<'_>, row: usize, column: usize) -> Block<V::Whole>;
}

#[allow(non_camel_case_types, reason = "ggml's own name")]
struct Q8_0;
#[allow(non_camel_case_types, reason = "ggml's own name")]
struct Q4_0;
#[allow(non_camel_case_types, reason = "ggml's own name")]
struct Q4_1;

impl Weights for Q8_0 {
    const HAS_OFFSET: bool = false;

    #[inline(always)]
    fn block<V: F32x8>(packed: Packed<'_>, row: usize, column: usize) -> Block<V::Whole> {
        let block = packed.block_index(row, column);
        let quants = V::Whole::from_i8(packed.block_quants(block));
        Block { quants, scale: V::f16(packed.scales[block]), offset: 0.0 }
    }
}

impl Weights for Q4_0 {
    const HAS_OFFSET: bool = false;

    #[inline(always)]
    fn block<V: F32x8>(packed: Packed<'_>, row: usize, column: usize) -> Block<V::Whole> {
        let block = packed.block_index(row, column);
        let quants = V::Whole::from_nibbles(packed.block_quants(block));
        Block { quants, scale: V::f16(packed.scales[block]), offset: 0.0 }
    }
}

impl Weights for Q4_1 {
    const HAS_OFFSET: bool = true;

    #[inline(always)]
    fn block<V: F32x8>(packed: Packed<'_>, row: usize, column: usize) -> Block<V::Whole> {
        let block = packed.block_index(row, column);
        let quants = V::Whole::from_nibbles(packed.block_quants(block));
        let scale = V::f16(packed.scales[2 * block]);
        // Quants are less 8, which the offset gives back.
        Block { quants, scale, offset: 8.0 * scale + V::f16(packed.scales[2 * block + 1]) }
    }
}
