//! The packed product on the CPU. For one token weights are unpacked 32 at a time into registers; for several, a few
//! megabytes at a time, for the product of plain floats.
//!
//! The loops are written once, over [`F32x8`], and compiled for every kind of SIMD.
#![allow(clippy::needless_range_loop, reason = "with iterators the inner loops stay rolled and run at half the speed")]

use std::borrow::Cow;
use std::marker::PhantomData;

use burn::backend::TensorMetadata;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{Shape, TensorData};
use burn_flex::{Flex, FlexTensor};

use super::{Activations, BLOCK, PackedProduct, PackedShape, QuantOps, WeightKind, rounded};
use crate::kernels::fill_rows;
use crate::kernels::gemm_panels::{Panels, View};
use crate::kernels::matmul::multiply_rows;
use crate::kernels::simd::{F32x8, LANES, SimdTask, with_simd};

#[cfg(target_endian = "big")]
compile_error!("packed words are read as little-endian bytes");

/// [`F32x8`]s in a block.
const PARTS: usize = BLOCK / LANES;
/// Weights that are unpacked at a time where there are several tokens: what a second-level cache holds.
const PART_WEIGHTS: usize = 512 * 1024;

impl QuantOps for Flex {
    fn quant_matmul(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        norm: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        PackedProduct { shape, steps, activations }: PackedProduct,
    ) -> FloatTensor<Self> {
        let x = steps.begin(x, &norm).to_contiguous();
        let words = words.storage::<u32>();
        let packed = Packed::open(words, shape);
        let tokens = x.shape()[0];
        let y = match (tokens, activations) {
            (0, _) => Vec::new(),
            (_, Activations::Rounded) if shape.kind.is_block_kind() => rounded::product(x.storage(), packed),
            (1, _) => vector(x.storage(), packed),
            _ => matrix(x.storage(), packed),
        };
        let y = steps.finish(y, shape.rows, &bias, &residual);
        FlexTensor::from_data(TensorData::new(y, Shape::from([tokens, steps.width(shape.rows)])))
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

/// One token: each row of weights is read once, straight from its packed form.
///
/// # Shapes
/// - `x`: `[K]`, result: `[N]`
fn vector(x: &[f32], packed: Packed<'_>) -> Vec<f32> {
    let x = &whole_blocks(x, packed.shape.columns);
    let x_sums: &[f32] = &x.chunks(BLOCK).map(|block| block.iter().sum()).collect::<Vec<_>>();
    let mut y = vec![0.0; packed.shape.rows];
    fill_rows(&mut y, 1, packed.shape.columns, |first_row, y| {
        with_weights!(packed.shape.kind, W => {
            with_simd(DotRows::<W> { weights: PhantomData, packed, x, x_sums, first_row, y });
        });
    });
    y
}

/// Several tokens: what unpacking costs is shared by them.
///
/// # Shapes
/// - `x`: `[T, K]`, result: `[T, N]`
fn matrix(x: &[f32], packed: Packed<'_>) -> Vec<f32> {
    let PackedShape { rows, columns, .. } = packed.shape;
    let x = View::rows(x, columns);
    let mut y = vec![0.0; x.shape[0] * rows];
    let part_rows = (PART_WEIGHTS / columns).max(1);
    for first_row in (0..rows).step_by(part_rows) {
        let count = part_rows.min(rows - first_row);
        let mut weights = vec![0.0; count * columns];
        fill_rows(&mut weights, columns, columns, |row, weights| unpack(packed, first_row + row, weights));
        let mut product = vec![0.0; x.shape[0] * count];
        multiply_rows(x, &Panels::new(View::rows(&weights, columns).transposed()), &mut product);
        for (y, product) in y.chunks_exact_mut(rows).zip(product.chunks_exact(count)) {
            y[first_row..][..count].copy_from_slice(product);
        }
    }
    y
}

/// # Shapes
/// - `ids`: `[T]`, result: `[T, K]`
fn rows(words: &[u32], ids: &[u32], shape: PackedShape) -> Vec<f32> {
    let packed = Packed::open(words, shape);
    let mut out = vec![0.0; ids.len() * shape.columns];
    for (&id, out) in ids.iter().zip(out.chunks_exact_mut(shape.columns)) {
        unpack(packed, (id as usize).min(shape.rows - 1), out);
    }
    out
}

/// Fills `out` with as many rows as it holds, from `first_row` on.
fn unpack(packed: Packed<'_>, first_row: usize, out: &mut [f32]) {
    with_weights!(packed.shape.kind, W => with_simd(UnpackRows::<W> { weights: PhantomData, packed, first_row, out }));
}

/// Rows filled up with zeros to whole blocks, so that no loop needs a tail. Only rows of plain floats can need it.
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

/// Rows of weights as f32, `[rows, K]`.
struct UnpackRows<'a, W> {
    weights: PhantomData<W>,
    packed: Packed<'a>,
    first_row: usize,
    out: &'a mut [f32],
}

impl<W: Weights> SimdTask for UnpackRows<'_, W> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        for (row, out) in (self.first_row..).zip(self.out.chunks_exact_mut(self.packed.shape.columns)) {
            let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
            for (column, out) in blocks.iter_mut().enumerate() {
                W::block::<V>(self.packed, row, column).store(out);
            }
            if !rest.is_empty() {
                let mut last = [0.0; BLOCK];
                W::block::<V>(self.packed, row, blocks.len()).store(&mut last);
                rest.copy_from_slice(&last[..rest.len()]);
            }
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

    /// The number of a block in a matrix of blocks.
    #[inline(always)]
    pub(super) fn block_index(&self, row: usize, column: usize) -> usize {
        row * (self.shape.columns / BLOCK) + column
    }

    /// The quants of a block.
    #[inline(always)]
    fn block_quants<const BYTES: usize>(&self, block: usize) -> &'a [u8; BYTES] {
        let bytes = &self.quants[block * BYTES..][..BYTES];
        bytes.first_chunk().expect("the slice has this length")
    }

    /// The quants of all blocks of a row, `B` each.
    #[inline(always)]
    pub(super) fn row_quants<B: bytemuck::Pod>(&self, row: usize) -> &'a [B] {
        let bytes = self.shape.columns / BLOCK * size_of::<B>();
        bytemuck::cast_slice(&self.quants[row * bytes..][..bytes])
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

impl<V: F32x8> Block<V> {
    #[inline(always)]
    fn plain(quants: [V; PARTS]) -> Self {
        Self { quants, scale: 1.0, offset: 0.0 }
    }

    #[inline(always)]
    fn store(self, out: &mut [f32; BLOCK]) {
        let (scale, offset) = (V::splat(self.scale), V::splat(self.offset));
        for (out, quants) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(self.quants) {
            quants.mul_add(scale, offset).store(out);
        }
    }
}
