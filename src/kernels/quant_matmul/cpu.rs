//! The packed product on the CPU. Weights are unpacked 32 at a time into registers (one token) or a few rows at a time
//! into a scratch that stays in the first-level cache (several tokens), never as a whole.
//!
//! The loops are written once, over [`F32x8`], and compiled for every kind of SIMD.
#![allow(clippy::needless_range_loop, reason = "with iterators the inner loops stay rolled and run at half the speed")]

use std::borrow::Cow;
use std::marker::PhantomData;

use burn::backend::TensorMetadata;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{Shape, TensorData};
use burn_flex::{Flex, FlexTensor};

use super::simd::{F32x8, LANES, SimdTask, with_simd};
use super::{Activations, BLOCK, PackedShape, QuantOps, WeightKind, rounded};

#[cfg(target_endian = "big")]
compile_error!("packed words are read as little-endian bytes");

/// [`F32x8`]s in a block.
const PARTS: usize = BLOCK / LANES;
/// Weight rows and tokens of one tile. Their sums and operands fill the registers: 4 x 3 + 3 + 1 of the 16 of AVX2; in
/// wasm, where an [`F32x8`] takes two registers, fewer tokens do.
const TILE_ROWS: usize = 4;
const TILE_TOKENS: usize = if cfg!(target_arch = "x86_64") { 3 } else { 1 };
/// Rows that a thread takes at a time when there are several tokens.
pub(super) const CHUNK_ROWS: usize = 32;
/// Products below this many multiplications are not worth waking a thread for.
pub(super) const PARALLEL_WORK: usize = 64 * 1024;

impl QuantOps for Flex {
    fn quant_matmul(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        shape: PackedShape,
        activations: Activations,
    ) -> FloatTensor<Self> {
        let x = x.to_contiguous();
        let tokens = x.shape()[0];
        let (x, words) = (x.storage::<f32>(), words.storage::<u32>());
        let y = match activations {
            Activations::Rounded if shape.kind.is_block_kind() => rounded::matmul(x, words, shape),
            _ => matmul(x, words, shape),
        };
        FlexTensor::from_data(TensorData::new(y, Shape::from([tokens, shape.rows])))
    }

    fn quant_rows(words: IntTensor<Self>, ids: IntTensor<Self>, shape: PackedShape) -> FloatTensor<Self> {
        let ids = ids.to_contiguous();
        let ids = ids.storage::<u32>();
        let rows = rows(words.storage::<u32>(), ids, shape);
        FlexTensor::from_data(TensorData::new(rows, Shape::from([ids.len(), shape.columns])))
    }
}

/// Runs an expression with `$weights` standing for the type that reads one [`WeightKind`].
macro_rules! with_weights {
    ($kind:expr, $weights:ident => $body:expr) => {
        match $kind {
            WeightKind::F32 => {
                type $weights = F32;
                $body
            }
            WeightKind::F16 => {
                type $weights = F16;
                $body
            }
            WeightKind::BF16 => {
                type $weights = BF16;
                $body
            }
            WeightKind::Q8_0 => {
                type $weights = Q8_0;
                $body
            }
            WeightKind::Q4_0 => {
                type $weights = Q4_0;
                $body
            }
            WeightKind::Q4_1 => {
                type $weights = Q4_1;
                $body
            }
        }
    };
}

/// # Shapes
/// - `x`: `[T, K]`, result: `[T, N]`
fn matmul(x: &[f32], words: &[u32], shape: PackedShape) -> Vec<f32> {
    let parallel = x.len() * shape.rows >= PARALLEL_WORK;
    let tokens = x.len() / shape.columns;
    let x = whole_blocks(x, shape.columns);
    let product = Product { x: &x, packed: Packed::open(words, shape), parallel };
    match tokens {
        0 => Vec::new(),
        1 => with_weights!(shape.kind, W => product.vector::<W>()),
        _ => with_weights!(shape.kind, W => product.matrix::<W>(tokens)),
    }
}

/// # Shapes
/// - `ids`: `[T]`, result: `[T, K]`
fn rows(words: &[u32], ids: &[u32], shape: PackedShape) -> Vec<f32> {
    let packed = Packed::open(words, shape);
    let mut out = Vec::with_capacity(ids.len() * shape.columns);
    let mut row = vec![0.0; packed.width()];
    for &id in ids {
        let at = (id as usize).min(shape.rows - 1);
        let out_row = &mut row;
        with_weights!(shape.kind, W => with_simd(UnpackRow::<W> { weights: PhantomData, packed, row: at, out: out_row }));
        out.extend_from_slice(&row[..shape.columns]);
    }
    out
}

/// Rows filled up with zeros to whole blocks, so that no loop needs a tail. Only rows of plain numbers can need it.
fn whole_blocks(x: &[f32], columns: usize) -> Cow<'_, [f32]> {
    if columns.is_multiple_of(BLOCK) {
        return Cow::Borrowed(x);
    }
    let width = columns.next_multiple_of(BLOCK);
    let mut whole = vec![0.0; x.len() / columns * width];
    for (whole, x) in whole.chunks_exact_mut(width).zip(x.chunks_exact(columns)) {
        whole[..columns].copy_from_slice(x);
    }
    Cow::Owned(whole)
}

/// One product to be made.
struct Product<'a> {
    /// In whole blocks.
    x: &'a [f32],
    packed: Packed<'a>,
    parallel: bool,
}

impl Product<'_> {
    /// One token: each row of weights is read once, straight from its packed form.
    fn vector<W: Weights>(&self) -> Vec<f32> {
        let Self { x, packed, parallel } = *self;
        let rows = packed.shape.rows;
        let x_sums: Vec<f32> = x.chunks(BLOCK).map(|block| block.iter().sum()).collect();
        let mut y = vec![0.0; rows];
        let chunk_rows = if parallel { rows.div_ceil(4 * thread_count()).max(8) } else { rows };
        for_each_chunk(parallel, &mut y, chunk_rows, |chunk, y| {
            let first_row = chunk * chunk_rows;
            with_simd(DotRows::<W> { weights: PhantomData, packed, x, x_sums: &x_sums, first_row, y });
        });
        y
    }

    /// Several tokens: a few rows are unpacked into a scratch and multiplied with every token.
    fn matrix<W: Weights>(&self, tokens: usize) -> Vec<f32> {
        let Self { x, packed, parallel } = *self;
        let rows = packed.shape.rows;
        // Threads own whole rows, so the product is made as [N, T] and turned at the end.
        let mut turned = vec![0.0; rows * tokens];
        for_each_chunk(parallel, &mut turned, CHUNK_ROWS * tokens, |chunk, out| {
            let first_row = chunk * CHUNK_ROWS;
            with_simd(DotTiles::<W> { weights: PhantomData, packed, x, first_row, tokens, out });
        });
        turn(&turned, tokens)
    }
}

/// `[N, T]` -> `[T, N]`.
pub(super) fn turn(values: &[f32], tokens: usize) -> Vec<f32> {
    let rows = values.len() / tokens;
    let mut turned = vec![0.0; values.len()];
    for (row, values) in values.chunks_exact(tokens).enumerate() {
        for (token, &value) in values.iter().enumerate() {
            turned[token * rows + row] = value;
        }
    }
    turned
}

/// `y[i] = W[first_row + i] . x` for one token.
struct DotRows<'a, W> {
    weights: PhantomData<W>,
    packed: Packed<'a>,
    x: &'a [f32],
    /// Sum of `x` over each block: what an offset is multiplied with.
    x_sums: &'a [f32],
    first_row: usize,
    y: &'a mut [f32],
}

impl<W: Weights> SimdTask for DotRows<'_, W> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        let x_blocks = self.x.as_chunks::<LANES>().0.as_chunks::<PARTS>().0;
        let x_sums = &self.x_sums[..x_blocks.len()];
        for (row, y) in (self.first_row..).zip(self.y) {
            let mut sums = V::zero();
            let mut offsets = 0.0;
            for column in 0..x_blocks.len() {
                let block = W::block::<V>(self.packed, row, column);
                let x = &x_blocks[column];
                let mut block_sums = V::zero();
                for part in 0..PARTS {
                    block_sums = block.quants[part].mul_add(V::load(&x[part]), block_sums);
                }
                sums = block_sums.mul_add(V::splat(block.scale), sums);
                offsets += block.offset * x_sums[column];
            }
            *y = sums.sum() + offsets;
        }
    }
}

/// `out[i, t] = W[first_row + i] . x[t]` for several tokens.
struct DotTiles<'a, W> {
    weights: PhantomData<W>,
    packed: Packed<'a>,
    x: &'a [f32],
    first_row: usize,
    tokens: usize,
    out: &'a mut [f32],
}

impl<W: Weights> SimdTask for DotTiles<'_, W> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        let width = self.packed.width();
        let mut scratch = vec![0.0; TILE_ROWS * width];
        let first_rows = (self.first_row..).step_by(TILE_ROWS);
        for (first_row, out) in first_rows.zip(self.out.chunks_mut(TILE_ROWS * self.tokens)) {
            // A last tile of fewer rows leaves old numbers in the scratch, whose sums are not stored.
            for (row, scratch) in scratch.chunks_exact_mut(width).enumerate().take(out.len() / self.tokens) {
                unpack_row::<W, V>(self.packed, first_row + row, scratch);
            }
            let rows: [&[f32]; TILE_ROWS] = std::array::from_fn(|row| &scratch[row * width..][..width]);
            for (tile, x) in self.x.chunks(TILE_TOKENS * width).enumerate() {
                // A last tile of fewer tokens takes its first one again, whose further sums are not stored.
                let tokens: [&[f32]; TILE_TOKENS] = std::array::from_fn(|token| {
                    x.get(token * width..).and_then(|x| x.get(..width)).unwrap_or(&x[..width])
                });
                let sums = dot_tile::<V>(rows, tokens);
                for (out, sums) in out.chunks_exact_mut(self.tokens).zip(sums) {
                    for (out, sum) in out.iter_mut().skip(tile * TILE_TOKENS).zip(sums) {
                        *out = sum;
                    }
                }
            }
        }
    }
}

/// All dot products of a few rows with a few tokens, so that each number loaded is used several times.
#[inline(always)]
fn dot_tile<V: F32x8>(rows: [&[f32]; TILE_ROWS], x: [&[f32]; TILE_TOKENS]) -> [[f32; TILE_TOKENS]; TILE_ROWS] {
    let rows = rows.map(|row| row.as_chunks::<LANES>().0);
    let count = rows[0].len();
    // Of one length, as the compiler then sees, and checks no bound in the loop.
    let (rows, x) = (rows.map(|row| &row[..count]), x.map(|x| &x.as_chunks::<LANES>().0[..count]));
    let mut sums = [[V::zero(); TILE_TOKENS]; TILE_ROWS];
    for at in 0..count {
        let values: [V; TILE_TOKENS] = std::array::from_fn(|token| V::load(&x[token][at]));
        for row in 0..TILE_ROWS {
            let weights = V::load(&rows[row][at]);
            for token in 0..TILE_TOKENS {
                sums[row][token] = weights.mul_add(values[token], sums[row][token]);
            }
        }
    }
    sums.map(|sums| sums.map(V::sum))
}

/// One row of weights as f32.
struct UnpackRow<'a, W> {
    weights: PhantomData<W>,
    packed: Packed<'a>,
    row: usize,
    /// In whole blocks.
    out: &'a mut [f32],
}

impl<W: Weights> SimdTask for UnpackRow<'_, W> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        unpack_row::<W, V>(self.packed, self.row, self.out);
    }
}

#[inline(always)]
fn unpack_row<W: Weights, V: F32x8>(packed: Packed<'_>, row: usize, out: &mut [f32]) {
    for (column, out) in out.as_chunks_mut::<LANES>().0.as_chunks_mut::<PARTS>().0.iter_mut().enumerate() {
        let block = W::block::<V>(packed, row, column);
        let (scale, offset) = (V::splat(block.scale), V::splat(block.offset));
        for (out, quants) in out.iter_mut().zip(block.quants) {
            quants.mul_add(scale, offset).store(out);
        }
    }
}

/// A packed matrix, seen as its two parts.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    pub(super) quants: &'a [u8],
    /// f16 numbers as bits.
    pub(super) scales: &'a [u16],
    pub(super) shape: PackedShape,
}

impl<'a> Packed<'a> {
    pub(super) fn open(words: &'a [u32], shape: PackedShape) -> Self {
        let (quants, scales) = words.split_at(shape.quant_words());
        Self { quants: bytemuck::cast_slice(quants), scales: bytemuck::cast_slice(scales), shape }
    }

    /// Columns in whole blocks.
    fn width(&self) -> usize {
        self.shape.columns.next_multiple_of(BLOCK)
    }

    /// The number of a block in a matrix of blocks.
    #[inline(always)]
    pub(super) fn block_index(&self, row: usize, column: usize) -> usize {
        row * (self.shape.columns / BLOCK) + column
    }

    /// The quants of a block.
    #[inline(always)]
    pub(super) fn block_quants<const BYTES: usize>(&self, block: usize) -> &'a [u8; BYTES] {
        let bytes = &self.quants[block * BYTES..][..BYTES];
        bytes.first_chunk().expect("the slice has this length")
    }

    /// Up to 32 weights of a kind that is not in blocks; zeros follow the last of a row.
    #[inline(always)]
    fn numbers<const BYTES: usize, T: Copy + Default>(
        &self,
        row: usize,
        column: usize,
        number: impl Fn([u8; BYTES]) -> T,
    ) -> [[T; LANES]; PARTS] {
        let len = (self.shape.columns - column * BLOCK).min(BLOCK);
        let first = row * self.shape.columns + column * BLOCK;
        let values = self.quants[first * BYTES..][..len * BYTES].as_chunks().0;
        let mut numbers = [[T::default(); LANES]; PARTS];
        for (out, value) in numbers.as_flattened_mut().iter_mut().zip(values) {
            *out = number(*value);
        }
        numbers
    }
}

/// 32 weights of a row: `weight = scale * quant + offset`.
struct Block<V> {
    quants: [V; PARTS],
    scale: f32,
    offset: f32,
}

/// How weights of one kind are read.
trait Weights: Send + Sync {
    /// Weights `32 * column ..` of a row.
    fn block<V: F32x8>(packed: Packed<'_>, row: usize, column: usize) -> Block<V>;
}

struct F32;
struct F16;
struct BF16;
#[allow(non_camel_case_types, reason = "ggml's own name")]
struct Q8_0;
#[allow(non_camel_case_types, reason = "ggml's own name")]
struct Q4_0;
#[allow(non_camel_case_types, reason = "ggml's own name")]
struct Q4_1;

impl Weights for F32 {
    #[inline(always)]
    fn block<V: F32x8>(packed: Packed<'_>, row: usize, column: usize) -> Block<V> {
        Block::plain(packed.numbers(row, column, f32::from_le_bytes).map(|part| V::load(&part)))
    }
}

impl Weights for F16 {
    #[inline(always)]
    fn block<V: F32x8>(packed: Packed<'_>, row: usize, column: usize) -> Block<V> {
        Block::plain(packed.numbers(row, column, u16::from_le_bytes).map(|part| V::from_f16(&part)))
    }
}

impl Weights for BF16 {
    #[inline(always)]
    fn block<V: F32x8>(packed: Packed<'_>, row: usize, column: usize) -> Block<V> {
        // A bf16 is the upper half of an f32.
        let number = |[low, high]: [u8; 2]| f32::from_le_bytes([0, 0, low, high]);
        Block::plain(packed.numbers(row, column, number).map(|part| V::load(&part)))
    }
}

impl Weights for Q8_0 {
    #[inline(always)]
    fn block<V: F32x8>(packed: Packed<'_>, row: usize, column: usize) -> Block<V> {
        let block = packed.block_index(row, column);
        let bytes = packed.block_quants::<32>(block).as_chunks().0;
        let quants = std::array::from_fn(|part| V::from_i8(&bytes[part]));
        Block { quants, scale: V::f16(packed.scales[block]), offset: 0.0 }
    }
}

impl Weights for Q4_0 {
    #[inline(always)]
    fn block<V: F32x8>(packed: Packed<'_>, row: usize, column: usize) -> Block<V> {
        let block = packed.block_index(row, column);
        let quants = V::from_nibbles(packed.block_quants(block));
        Block { quants, scale: V::f16(packed.scales[block]), offset: 0.0 }
    }
}

impl Weights for Q4_1 {
    #[inline(always)]
    fn block<V: F32x8>(packed: Packed<'_>, row: usize, column: usize) -> Block<V> {
        let block = packed.block_index(row, column);
        let quants = V::from_nibbles(packed.block_quants(block));
        let scale = V::f16(packed.scales[2 * block]);
        let minimum = V::f16(packed.scales[2 * block + 1]);
        // Quants are less 8, which the offset gives back. The minimum of a block is near -8 scales, so that the offset is
        // small and little cancels in the sums.
        Block { quants, scale, offset: 8.0 * scale + minimum }
    }
}

impl<V> Block<V> {
    #[inline(always)]
    fn plain(quants: [V; PARTS]) -> Self {
        Self { quants, scale: 1.0, offset: 0.0 }
    }
}

/// Calls `f(index, chunk)` for each chunk of `out`, on all threads where that is asked for and possible.
#[cfg(not(target_family = "wasm"))]
pub(super) fn for_each_chunk(parallel: bool, out: &mut [f32], chunk_len: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    use rayon::prelude::*;
    if parallel {
        out.par_chunks_mut(chunk_len).enumerate().for_each(|(index, chunk)| f(index, chunk));
    } else {
        out.chunks_mut(chunk_len.max(1)).enumerate().for_each(|(index, chunk)| f(index, chunk));
    }
}

#[cfg(target_family = "wasm")]
pub(super) fn for_each_chunk(_parallel: bool, out: &mut [f32], chunk_len: usize, f: impl Fn(usize, &mut [f32])) {
    out.chunks_mut(chunk_len.max(1)).enumerate().for_each(|(index, chunk)| f(index, chunk));
}

#[cfg(not(target_family = "wasm"))]
pub(super) fn thread_count() -> usize {
    rayon::current_num_threads()
}

#[cfg(target_family = "wasm")]
pub(super) fn thread_count() -> usize {
    1
}
