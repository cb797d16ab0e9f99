//! The packed product on the CPU. Weights are unpacked 32 at a time into registers (one token) or a few rows at a time
//! into a scratch that stays in the first-level cache (several tokens), never as a whole.
//!
//! The loops are written over fixed arrays of [`LANES`] numbers, which the compiler turns into SIMD of the target:
//! simd128 in wasm, NEON on ARM, and on x86-64 AVX2 with FMA where the processor has them, found out at run time.

use std::marker::PhantomData;

use burn::backend::TensorMetadata;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{Shape, TensorData};
use burn_flex::{Flex, FlexTensor};

use super::{BLOCK, PackedShape, QuantOps, WeightKind};

#[cfg(target_endian = "big")]
compile_error!("packed words are read as little-endian bytes");

/// f32 numbers in one SIMD register of AVX2, two of NEON or wasm.
const LANES: usize = 8;
/// Weight rows and tokens of one tile: 4 x 2 sums fill half of the 16 registers of AVX2, the operands the rest.
const TILE_ROWS: usize = 4;
const TILE_TOKENS: usize = 2;
/// Rows that a thread takes at a time when there are several tokens.
const CHUNK_ROWS: usize = 32;
/// Products below this many multiplications are not worth waking a thread for.
const PARALLEL_WORK: usize = 64 * 1024;

impl QuantOps for Flex {
    fn quant_matmul(x: FloatTensor<Self>, words: IntTensor<Self>, shape: PackedShape) -> FloatTensor<Self> {
        let x = x.to_contiguous();
        let tokens = x.shape()[0];
        let y = matmul(x.storage::<f32>(), words.storage::<u32>(), shape);
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
    let product = Product { x, packed: Packed::open(words, shape), shape, parallel };
    match x.len() / shape.columns {
        0 => Vec::new(),
        1 => with_weights!(shape.kind, W => product.vector::<W>()),
        tokens => with_weights!(shape.kind, W => product.matrix::<W>(tokens)),
    }
}

/// # Shapes
/// - `ids`: `[T]`, result: `[T, K]`
fn rows(words: &[u32], ids: &[u32], shape: PackedShape) -> Vec<f32> {
    let packed = Packed::open(words, shape);
    let mut out = vec![0.0; ids.len() * shape.columns];
    for (&id, out) in ids.iter().zip(out.chunks_exact_mut(shape.columns)) {
        let row = (id as usize).min(shape.rows - 1);
        with_weights!(shape.kind, W => unpack_row::<W>(packed, row, out));
    }
    out
}

/// One product to be made.
struct Product<'a> {
    x: &'a [f32],
    packed: Packed<'a>,
    shape: PackedShape,
    parallel: bool,
}

impl Product<'_> {
    /// One token: each row of weights is read once, straight from its packed form.
    fn vector<W: Weights>(&self) -> Vec<f32> {
        let Self { x, packed, shape, parallel } = *self;
        let x_sums: Vec<f32> = x.chunks(BLOCK).map(|block| block.iter().sum()).collect();
        let mut y = vec![0.0; shape.rows];
        let chunk_rows = if parallel { shape.rows.div_ceil(4 * thread_count()).max(8) } else { shape.rows };
        for_each_chunk(parallel, &mut y, chunk_rows, |chunk, y| {
            let first_row = chunk * chunk_rows;
            with_simd(DotRows::<W> { weights: PhantomData, packed, x, x_sums: &x_sums, first_row, y });
        });
        y
    }

    /// Several tokens: a few rows are unpacked into a scratch and multiplied with every token.
    fn matrix<W: Weights>(&self, tokens: usize) -> Vec<f32> {
        let Self { x, packed, shape, parallel } = *self;
        let rows = shape.rows;
        // Threads own whole rows, so the product is made as [N, T] and turned at the end.
        let mut turned = vec![0.0; rows * tokens];
        for_each_chunk(parallel, &mut turned, CHUNK_ROWS * tokens, |chunk, out| {
            let first_row = chunk * CHUNK_ROWS;
            with_simd(DotTiles::<W> { weights: PhantomData, packed, x, first_row, tokens, out });
        });
        let mut y = vec![0.0; rows * tokens];
        for (row, turned) in turned.chunks_exact(tokens).enumerate() {
            for (token, &value) in turned.iter().enumerate() {
                y[token * rows + row] = value;
            }
        }
        y
    }
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
    fn run<const FUSED: bool>(self) {
        for (row, y) in (self.first_row..).zip(self.y) {
            let mut sums = [0.0; LANES];
            let mut offsets = 0.0;
            for (column, (x, x_sum)) in self.x.chunks(BLOCK).zip(self.x_sums).enumerate() {
                let block = W::block(self.packed, row, column, x.len());
                let mut block_sums = [0.0; LANES];
                if let Ok(x) = <&[f32; BLOCK]>::try_from(x) {
                    multiply_add::<BLOCK, FUSED>(&block.quants, x, &mut block_sums);
                } else {
                    // The last block of a row of unquantised weights may be short.
                    for (lane, (quant, x)) in block.quants.iter().zip(x).enumerate() {
                        block_sums[lane % LANES] += quant * x;
                    }
                }
                for (sum, block_sum) in sums.iter_mut().zip(block_sums) {
                    *sum = fma::<FUSED>(block.scale, block_sum, *sum);
                }
                offsets += block.offset * x_sum;
            }
            *y = sums.iter().sum::<f32>() + offsets;
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
    fn run<const FUSED: bool>(self) {
        let columns = self.packed.columns;
        let mut scratch = vec![0.0; TILE_ROWS * columns];
        let first_rows = (self.first_row..).step_by(TILE_ROWS);
        for (first_row, out) in first_rows.zip(self.out.chunks_mut(TILE_ROWS * self.tokens)) {
            // A last tile of fewer rows leaves old numbers in the scratch, whose sums are not stored.
            for (row, scratch) in scratch.chunks_exact_mut(columns).enumerate().take(out.len() / self.tokens) {
                unpack_row::<W>(self.packed, first_row + row, scratch);
            }
            let rows: [&[f32]; TILE_ROWS] = std::array::from_fn(|row| &scratch[row * columns..][..columns]);
            for (pair, x) in self.x.chunks(TILE_TOKENS * columns).enumerate() {
                let x: [&[f32]; TILE_TOKENS] =
                    std::array::from_fn(|token| x.get(token * columns..).filter(|x| !x.is_empty()).unwrap_or(x));
                let sums = dot_tile::<FUSED>(rows, x.map(|x| &x[..columns]));
                for (out, sums) in out.chunks_exact_mut(self.tokens).zip(sums) {
                    for (out, sum) in out.iter_mut().skip(pair * TILE_TOKENS).zip(sums) {
                        *out = sum;
                    }
                }
            }
        }
    }
}

/// All dot products of a few rows with a few tokens, so that each number loaded is used several times.
#[inline(always)]
fn dot_tile<const FUSED: bool>(rows: [&[f32]; TILE_ROWS], x: [&[f32]; TILE_TOKENS]) -> [[f32; TILE_TOKENS]; TILE_ROWS] {
    let (row_lanes, row_rests) =
        (rows.map(|row| row.as_chunks::<LANES>().0), rows.map(|row| row.as_chunks::<LANES>().1));
    let (x_lanes, x_rests) = (x.map(|x| x.as_chunks::<LANES>().0), x.map(|x| x.as_chunks::<LANES>().1));
    let mut sums = [[[0.0; LANES]; TILE_TOKENS]; TILE_ROWS];
    for at in 0..row_lanes[0].len() {
        for row in 0..TILE_ROWS {
            for token in 0..TILE_TOKENS {
                for lane in 0..LANES {
                    let sum = &mut sums[row][token][lane];
                    *sum = fma::<FUSED>(row_lanes[row][at][lane], x_lanes[token][at][lane], *sum);
                }
            }
        }
    }
    std::array::from_fn(|row| {
        std::array::from_fn(|token| {
            let rest: f32 = row_rests[row].iter().zip(x_rests[token]).map(|(w, x)| w * x).sum();
            sums[row][token].iter().sum::<f32>() + rest
        })
    })
}

#[inline(always)]
fn unpack_row<W: Weights>(packed: Packed<'_>, row: usize, out: &mut [f32]) {
    for (column, out) in out.chunks_mut(BLOCK).enumerate() {
        let block = W::block(packed, row, column, out.len());
        for (out, quant) in out.iter_mut().zip(block.quants) {
            *out = block.scale * quant + block.offset;
        }
    }
}

#[inline(always)]
fn multiply_add<const COUNT: usize, const FUSED: bool>(a: &[f32; COUNT], b: &[f32; COUNT], sums: &mut [f32; LANES]) {
    for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum = fma::<FUSED>(a[lane], b[lane], *sum);
        }
    }
}

/// `a * b + c`, in one instruction where there is one; without it `mul_add` would be a slow library call.
#[inline(always)]
fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Up to 32 weights of a row: `weight = scale * quant + offset`.
struct Block {
    quants: [f32; BLOCK],
    scale: f32,
    offset: f32,
}

/// A packed matrix, seen as its two parts.
#[derive(Clone, Copy)]
struct Packed<'a> {
    quants: &'a [u8],
    /// f16 numbers as bits.
    scales: &'a [u16],
    columns: usize,
}

impl<'a> Packed<'a> {
    fn open(words: &'a [u32], shape: PackedShape) -> Self {
        let (quants, scales) = words.split_at(shape.quant_words());
        Self { quants: bytemuck::cast_slice(quants), scales: bytemuck::cast_slice(scales), columns: shape.columns }
    }

    /// The bytes of up to 32 weights of a kind that is not in blocks.
    #[inline(always)]
    fn values<const BYTES: usize>(&self, row: usize, column: usize, len: usize) -> &'a [[u8; BYTES]] {
        let first = row * self.columns + column * BLOCK;
        self.quants[first * BYTES..][..len * BYTES].as_chunks().0
    }

    /// The number of a block in the whole matrix.
    #[inline(always)]
    fn block_index(&self, row: usize, column: usize) -> usize {
        row * (self.columns / BLOCK) + column
    }

    /// The 4-bit quants of a block, less 8: low nibbles first.
    #[inline(always)]
    fn nibbles(&self, block: usize) -> [f32; BLOCK] {
        let bytes = &self.quants[block * BLOCK / 2..][..BLOCK / 2];
        let mut quants = [0.0; BLOCK];
        let (low, high) = quants.split_at_mut(BLOCK / 2);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
            *low = (i32::from(byte & 15) - 8) as f32;
            *high = (i32::from(byte >> 4) - 8) as f32;
        }
        quants
    }
}

/// How weights of one kind are read.
trait Weights: Send + Sync {
    /// Weights `32 * column ..` of a row; `len` of them, the rest is zero.
    fn block(packed: Packed<'_>, row: usize, column: usize, len: usize) -> Block;
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
    fn block(packed: Packed<'_>, row: usize, column: usize, len: usize) -> Block {
        Block::plain(packed.values(row, column, len), f32::from_le_bytes)
    }
}

impl Weights for F16 {
    #[inline(always)]
    fn block(packed: Packed<'_>, row: usize, column: usize, len: usize) -> Block {
        Block::plain(packed.values(row, column, len), |bytes| f32_from_f16(u16::from_le_bytes(bytes)))
    }
}

impl Weights for BF16 {
    #[inline(always)]
    fn block(packed: Packed<'_>, row: usize, column: usize, len: usize) -> Block {
        Block::plain(packed.values(row, column, len), |bytes| {
            f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
        })
    }
}

impl Weights for Q8_0 {
    #[inline(always)]
    fn block(packed: Packed<'_>, row: usize, column: usize, _len: usize) -> Block {
        let block = packed.block_index(row, column);
        let mut quants = [0.0; BLOCK];
        for (quant, byte) in quants.iter_mut().zip(&packed.quants[block * BLOCK..][..BLOCK]) {
            *quant = f32::from(*byte as i8);
        }
        Block { quants, scale: f32_from_f16(packed.scales[block]), offset: 0.0 }
    }
}

impl Weights for Q4_0 {
    #[inline(always)]
    fn block(packed: Packed<'_>, row: usize, column: usize, _len: usize) -> Block {
        let block = packed.block_index(row, column);
        Block { quants: packed.nibbles(block), scale: f32_from_f16(packed.scales[block]), offset: 0.0 }
    }
}

impl Weights for Q4_1 {
    #[inline(always)]
    fn block(packed: Packed<'_>, row: usize, column: usize, _len: usize) -> Block {
        let block = packed.block_index(row, column);
        let scale = f32_from_f16(packed.scales[2 * block]);
        let minimum = f32_from_f16(packed.scales[2 * block + 1]);
        // The minimum is near -8 scales: taken together they leave a small offset and no cancellation in the sums.
        Block { quants: packed.nibbles(block), scale, offset: 8.0_f32.mul_add(scale, minimum) }
    }
}

impl Block {
    #[inline(always)]
    fn plain<const BYTES: usize>(values: &[[u8; BYTES]], number: impl Fn([u8; BYTES]) -> f32) -> Self {
        let mut quants = [0.0; BLOCK];
        for (quant, value) in quants.iter_mut().zip(values) {
            *quant = number(*value);
        }
        Self { quants, scale: 1.0, offset: 0.0 }
    }
}

/// An f16 as f32, exactly, without branches so that whole rows go through SIMD.
#[inline(always)]
fn f32_from_f16(bits: u16) -> f32 {
    const SMALLEST_NORMAL: u32 = 0x0400;
    const INFINITY: u32 = 0x7c00;
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff);
    let normal = (magnitude << 13) + (112 << 23);
    let subnormal = (magnitude as i32 as f32 * f32::from_bits(103 << 23)).to_bits(); // x 2^-24
    let not_finite = (magnitude << 13) | 0x7f80_0000;
    let value = if magnitude < SMALLEST_NORMAL { subnormal } else { normal };
    f32::from_bits(sign | if magnitude >= INFINITY { not_finite } else { value })
}

/// Work that is worth compiling for the SIMD of the processor.
trait SimdTask {
    /// `FUSED`: multiply-add is one instruction.
    fn run<const FUSED: bool>(self);
}

#[cfg(target_arch = "x86_64")]
fn with_simd(task: impl SimdTask) {
    #[target_feature(enable = "avx2,fma")]
    fn run_avx2(task: impl SimdTask) {
        task.run::<true>();
    }
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both features.
        unsafe { run_avx2(task) }
    } else {
        task.run::<false>();
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn with_simd(task: impl SimdTask) {
    const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "relaxed-simd"));
    task.run::<FUSED>();
}

/// Calls `f(index, chunk)` for each chunk of `out`, on all threads where that is asked for and possible.
#[cfg(not(target_family = "wasm"))]
fn for_each_chunk(parallel: bool, out: &mut [f32], chunk_len: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    use rayon::prelude::*;
    if parallel {
        out.par_chunks_mut(chunk_len).enumerate().for_each(|(index, chunk)| f(index, chunk));
    } else {
        out.chunks_mut(chunk_len.max(1)).enumerate().for_each(|(index, chunk)| f(index, chunk));
    }
}

#[cfg(target_family = "wasm")]
fn for_each_chunk(_parallel: bool, out: &mut [f32], chunk_len: usize, f: impl Fn(usize, &mut [f32])) {
    out.chunks_mut(chunk_len.max(1)).enumerate().for_each(|(index, chunk)| f(index, chunk));
}

#[cfg(not(target_family = "wasm"))]
fn thread_count() -> usize {
    rayon::current_num_threads()
}

#[cfg(target_family = "wasm")]
fn thread_count() -> usize {
    1
}
