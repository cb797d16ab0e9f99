//! Products with weights that stay packed: `y = x W^T` where `W` is kept as it came from the file, 4 or 8 bits a weight.
//!
//! Weights mean exactly what the file says. Forms of the same product: [`quant_matmul_reference`] (plain loops, f64 sums),
//! `gpu.rs` (WGSL) and `cpu.rs` (SIMD and threads), all with f32 activations, and `rounded.rs` (the same with activations
//! of 16 bits).
//!
//! # Packed layout
//! One row of words (u32) holds a matrix `[N, K]`: first the quants of all rows, then the scales of all blocks.
//!
//! | kind | quants | scales |
//! |---|---|---|
//! | F32, F16, BF16 | the values, row-major | none |
//! | Q8_0 | blocks of 32 i8 | one f16 a block |
//! | Q4_0 | blocks of 16 bytes: low nibbles are weights 0-15, high nibbles 16-31 | one f16 a block |
//! | Q4_1 | as Q4_0 | two f16 a block: scale, then minimum |
//!
//! A file interleaves scales and quants in blocks of 18, 20 or 34 bytes, which a GPU cannot read by whole words.

mod cpu;
mod gpu;
mod rounded;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};

use super::epilogue::{Epilogue, Steps};
use crate::formats::blocks::{BLOCK, WeightKind, little_endian_word, packs};

/// What the CPU multiplies weights with. A GPU always takes f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activations {
    /// f32, as they come.
    Exact,
    /// Blocks of 32 integers of 16 bits that share a scale: an error of 1/65,000 of the largest of a block, for up to
    /// twice the speed. Weights that are not in blocks get f32.
    #[default]
    Rounded,
}

/// What a row of packed words means: a matrix of `rows` (N) by `columns` (K) weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedShape {
    /// How the weights are stored.
    pub kind: WeightKind,
    /// Rows: outputs of a linear layer.
    pub rows: usize,
    /// Columns: its inputs.
    pub columns: usize,
}

impl PackedShape {
    /// `None` where the columns do not fit the packed layout: not whole blocks, or not whole [`COLUMN_GROUP`]s.
    pub fn new(kind: WeightKind, rows: usize, columns: usize) -> Option<Self> {
        packs(kind, columns).then_some(Self { kind, rows, columns })
    }

    /// Words of all quants: where the scales begin.
    pub const fn quant_words(self) -> usize {
        self.rows * self.columns * self.kind.bits() / 32
    }

    /// Words of quants and scales.
    pub const fn words(self) -> usize {
        let blocks = self.rows * self.columns / self.kind.block_len();
        self.quant_words() + (blocks * self.kind.scales_per_block()).div_ceil(2)
    }

    const fn blocks_per_row(self) -> usize {
        self.columns / self.kind.block_len()
    }
}

/// Packs the blocks of a file. `bytes` are `rows * columns` weights as the file has them.
///
/// # Panics
/// Where `bytes` has another length than `shape` asks for: the caller has checked the file.
pub fn pack(bytes: &[u8], shape: PackedShape) -> Vec<u32> {
    let kind = shape.kind;
    assert_eq!(bytes.len(), shape.rows * shape.blocks_per_row() * kind.block_bytes(), "bytes of a packed matrix");
    let scale_bytes = 2 * kind.scales_per_block();
    let mut words = Vec::with_capacity(shape.words());
    if kind.is_block_kind() {
        for block in bytes.chunks_exact(kind.block_bytes()) {
            words.extend(block[scale_bytes..].chunks_exact(4).map(little_endian_word));
        }
        let mut halves = bytes.chunks_exact(kind.block_bytes()).flat_map(|block| block[..scale_bytes].chunks_exact(2));
        while let Some(low) = halves.next() {
            let high = halves.next().unwrap_or(&[0, 0]);
            words.push(u32::from_le_bytes([low[0], low[1], high[0], high[1]]));
        }
    } else {
        words.extend(bytes.chunks_exact(4).map(little_endian_word));
    }
    words
}

/// One weight of a packed matrix, found the long way.
fn weight_reference(words: &[u32], shape: PackedShape, row: usize, column: usize) -> f32 {
    let half_at = |index: usize| {
        let word = words[index / 2];
        half::f16::from_bits(if index.is_multiple_of(2) { word as u16 } else { (word >> 16) as u16 }).to_f32()
    };
    let index = row * shape.columns + column;
    let (block, within) = (index / BLOCK, index % BLOCK);
    let byte_at = |byte: usize| (words[byte / 4] >> (8 * (byte % 4))) as u8;
    let nibble = || (byte_at(16 * block + within % 16) >> (4 * (within / 16))) & 15;
    let first_scale = 2 * shape.quant_words();
    match shape.kind {
        WeightKind::F32 => f32::from_bits(words[index]),
        WeightKind::F16 => half_at(index),
        WeightKind::BF16 => f32::from_bits((words[index / 2] >> (16 * (index % 2))) << 16),
        WeightKind::Q8_0 => half_at(first_scale + block) * f32::from(byte_at(index) as i8),
        WeightKind::Q4_0 => half_at(first_scale + block) * (f32::from(nibble()) - 8.0),
        WeightKind::Q4_1 => {
            half_at(first_scale + 2 * block) * f32::from(nibble()) + half_at(first_scale + 2 * block + 1)
        }
    }
}

/// What [`quant_matmul`] computes, in the plainest form.
///
/// # Shapes
/// - `x`: `[T, K]`, `words`: a packed `[N, K]`, result: `[T, N]`
pub fn quant_matmul_reference(x: &[f32], words: &[u32], shape: PackedShape) -> Vec<f32> {
    let mut y = Vec::new();
    for x_row in x.chunks_exact(shape.columns) {
        for row in 0..shape.rows {
            let mut sum = 0.0_f64;
            for (column, &value) in x_row.iter().enumerate() {
                sum += f64::from(value) * f64::from(weight_reference(words, shape, row, column));
            }
            y.push(sum as f32);
        }
    }
    y
}

/// What [`quant_rows`] computes, in the plainest form.
///
/// # Shapes
/// - `words`: a packed `[N, K]`, `ids`: `[T]`, result: `[T, K]`
pub fn quant_rows_reference(words: &[u32], ids: &[usize], shape: PackedShape) -> Vec<f32> {
    let row = |&id: &usize| (0..shape.columns).map(move |column| weight_reference(words, shape, id, column));
    ids.iter().flat_map(row).collect()
}

/// The operations on packed matrices, routed to the backend that holds the tensors.
#[backend_extension(Cube, Flex)]
pub trait QuantOps: Backend {
    /// See [`quant_matmul`].
    fn quant_matmul(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        norm: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        product: PackedProduct,
    ) -> FloatTensor<Self>;
    /// See [`quant_rows`].
    fn quant_rows(words: IntTensor<Self>, ids: IntTensor<Self>, shape: PackedShape) -> FloatTensor<Self>;
}

/// What is to be computed.
#[derive(Debug, Clone, Copy)]
pub struct PackedProduct {
    shape: PackedShape,
    steps: Steps,
    activations: Activations,
}

/// `x W^T` with packed `W`, and what goes with it.
///
/// # Shapes
/// - `x`: `[T, K]`, `words`: a packed `[N, K]` as u32, result: `[T, N]`, `[T, N / 2]` where it is passed through SwiGLU
pub fn quant_matmul(
    x: Tensor<2>,
    words: Tensor<1, Int>,
    epilogue: Epilogue,
    shape: PackedShape,
    activations: Activations,
) -> Tensor<2> {
    assert_eq!(x.dims()[1], shape.columns, "columns of x and of the packed matrix");
    epilogue.check(x.dims(), shape.rows);
    let (x, words) = (x.into_dispatch(), words.into_dispatch());
    let ([norm, bias, residual], steps) = epilogue.into_parts(&x);
    let product = PackedProduct { shape, steps, activations };
    Tensor::from_dispatch(Dispatch::quant_matmul(x, words, norm, bias, residual, product))
}

/// Rows of a packed `W`, unpacked: the embedding lookup. An id past the last row gives the last row.
///
/// # Shapes
/// - `words`: a packed `[N, K]` as u32, `ids`: `[T]` as u32, result: `[T, K]`
pub fn quant_rows(words: Tensor<1, Int>, ids: Tensor<1, Int>, shape: PackedShape) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::quant_rows(words.into_dispatch(), ids.into_dispatch(), shape))
}
