//! A matrix on the CPU as panels of eight columns, and what is made of each row of another with each column: products, or
//! distances. What `shaders/shared/tiled_product.wgsl` and `shaders/shared/distance_tile.wgsl` are on a GPU.
#![allow(clippy::needless_range_loop, reason = "with iterators the inner loops stay rolled and run at half the speed")]

use std::marker::PhantomData;

use burn_flex::FlexTensor;

use super::simd::{F32x8, LANES, SimdTask, with_simd};

/// What a pair of numbers adds to the sum of its row and column.
pub(super) trait Pairing {
    fn add<V: F32x8>(row: V, column: V, sum: V) -> V;
}

/// Their product.
pub(super) struct Product;

/// The square of their difference.
pub(super) struct SquaredDifference;

impl Pairing for Product {
    #[inline(always)]
    fn add<V: F32x8>(row: V, column: V, sum: V) -> V {
        row.mul_add(column, sum)
    }
}

impl Pairing for SquaredDifference {
    #[inline(always)]
    fn add<V: F32x8>(row: V, column: V, sum: V) -> V {
        let difference = column.mul_add(V::splat(-1.0), row);
        difference.mul_add(difference, sum)
    }
}

/// A matrix `[K, N]` that lies somewhere in `values`.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    values: &'a [f32],
    pub shape: [usize; 2],
    /// 0 where one row, or column, stands for all.
    strides: [usize; 2],
}

impl<'a> View<'a> {
    /// A matrix whose rows lie one after the other.
    pub fn rows(values: &'a [f32], width: usize) -> Self {
        Self { values, shape: [values.len() / width, width], strides: [width, 1] }
    }

    pub fn transposed(self) -> Self {
        let ([rows, columns], [down, right]) = (self.shape, self.strides);
        Self { shape: [columns, rows], strides: [right, down], ..self }
    }

    fn row(self, row: usize) -> &'a [f32] {
        &self.values[row * self.strides[0]..][..self.shape[1]]
    }

    /// As it is where the numbers of a row are neighbours, else gathered in `memory`.
    pub fn with_whole_rows(self, memory: &'a mut Vec<f32>) -> Self {
        if self.strides[1] == 1 {
            return self;
        }
        let ([rows, columns], [down, right]) = (self.shape, self.strides);
        for row in 0..rows {
            memory.extend((0..columns).map(|column| self.values[row * down + column * right]));
        }
        Self::rows(memory, self.shape[1])
    }

    /// Some of the rows.
    pub fn part(self, first_row: usize, rows: usize) -> Self {
        Self { values: &self.values[first_row * self.strides[0]..], shape: [rows, self.shape[1]], ..self }
    }
}

/// As it is where it can be read where it lies: no dimension runs backwards.
pub(super) fn forwards(tensor: FlexTensor) -> FlexTensor {
    if tensor.layout().strides().iter().all(|&stride| stride >= 0) { tensor } else { tensor.to_contiguous() }
}

/// The matrices of a tensor `[.., K, N]`, of up to two dimensions of batch.
pub(super) struct Batches<'a> {
    values: &'a [f32],
    /// `[B1, B2, K, N]`
    pub shape: [usize; 4],
    strides: [usize; 4],
}

impl<'a> Batches<'a> {
    /// Of a tensor that went through [`forwards`].
    pub fn new(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        let first = 4 - layout.num_dims();
        let (mut shape, mut strides) = ([1; 4], [0; 4]);
        for dim in first..4 {
            shape[dim] = layout.shape()[dim - first];
            strides[dim] = layout.strides()[dim - first].unsigned_abs();
        }
        Self { values: &tensor.storage()[layout.start_offset()..], shape, strides }
    }

    /// A dimension of the batch that is 1 serves all.
    pub fn matrix(&self, batch: [usize; 2]) -> View<'a> {
        let offset = |dim: usize| batch[dim].min(self.shape[dim] - 1) * self.strides[dim];
        let [_, _, rows, columns] = self.shape;
        let [_, _, down, right] = self.strides;
        View { values: &self.values[offset(0) + offset(1)..], shape: [rows, columns], strides: [down, right] }
    }
}

/// Eight columns side by side, row by row, then the next eight; zeros behind the last column.
pub(super) struct Panels {
    values: Vec<[f32; LANES]>,
    /// Rows of the matrix.
    inner: usize,
    pub columns: usize,
}

impl Panels {
    pub fn new(matrix: View<'_>) -> Self {
        let ([inner, columns], [down, right]) = (matrix.shape, matrix.strides);
        let mut values = vec![[0.0; LANES]; columns.div_ceil(LANES) * inner];
        for first in (0..columns).step_by(LANES) {
            let panel = &mut values[first / LANES * inner..][..inner];
            let width = LANES.min(columns - first);
            if right == 1 {
                for (row, eight) in panel.iter_mut().enumerate() {
                    eight[..width].copy_from_slice(&matrix.values[row * down + first..][..width]);
                }
            } else {
                for column in 0..width {
                    for (row, eight) in panel.iter_mut().enumerate() {
                        eight[column] = matrix.values[row * down + (first + column) * right];
                    }
                }
            }
        }
        Self { values, inner, columns }
    }

    /// `P` of each row with each column, into `out` `[M, N]`.
    pub fn pair<P: Pairing>(&self, rows: View<'_>, out: &mut [f32]) {
        with_simd(Pairs::<P> { pairing: PhantomData, gemm_panels: self, rows, out });
    }
}

struct Pairs<'a, P> {
    pairing: PhantomData<P>,
    gemm_panels: &'a Panels,
    rows: View<'a>,
    out: &'a mut [f32],
}

impl<P: Pairing> SimdTask for Pairs<'_, P> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        if V::MANY_REGISTERS { self.tiles::<V, 8>() } else { self.tiles::<V, 4>() }
    }
}

impl<P: Pairing> Pairs<'_, P> {
    /// `ROWS` rows at a time, whose sums stay in registers; a panel stays in the nearest cache for all of them.
    #[inline(always)]
    fn tiles<V: F32x8, const ROWS: usize>(self) {
        let Panels { values, inner, columns } = self.gemm_panels;
        let (inner, columns, count) = (*inner, *columns, self.rows.shape[0]);
        for first in (0..columns).step_by(LANES) {
            let panel = &values[first / LANES * inner..][..inner];
            for first_row in (0..count).step_by(ROWS) {
                // Past the last row that one again.
                let rows: [&[f32]; ROWS] = std::array::from_fn(|i| self.rows.row((first_row + i).min(count - 1)));
                let sums = tile::<P, V, ROWS>(rows, panel);
                let out = self.out[first_row * columns..].chunks_exact_mut(columns);
                for (out, sum) in out.zip(sums) {
                    store(sum, &mut out[first..]);
                }
            }
        }
    }
}

/// The first of eight numbers, where there is room for fewer.
#[inline(always)]
pub(super) fn store<V: F32x8>(eight: V, out: &mut [f32]) {
    if let Some(out) = out.first_chunk_mut() {
        return eight.store(out);
    }
    let mut numbers = [0.0; LANES];
    eight.store(&mut numbers);
    out.copy_from_slice(&numbers[..out.len()]);
}

#[inline(always)]
fn tile<P: Pairing, V: F32x8, const ROWS: usize>(rows: [&[f32]; ROWS], panel: &[[f32; LANES]]) -> [V; ROWS] {
    // Of one length, as the compiler then sees, and checks no bound in the loop.
    let inner = panel.len();
    let rows: [&[f32]; ROWS] = std::array::from_fn(|i| &rows[i][..inner]);
    let mut sums = [V::zero(); ROWS];
    for at in 0..inner {
        let column = V::load(&panel[at]);
        for row in 0..ROWS {
            sums[row] = P::add(V::splat(rows[row][at]), column, sums[row]);
        }
    }
    sums
}
