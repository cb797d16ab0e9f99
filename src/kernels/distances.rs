//! Distances of patches to all patches, some rows at a time: no `[N, N]` matrix exists.

use super::for_each_row;
use super::gemm_panels::{Panels, SquaredDifference, View};

/// Rows whose distances are in memory at a time, for each thread.
const BLOCK_ROWS: usize = 16;

/// `each(i, squared distances of row i to all rows, itself among them)` for every row: in f64.
pub(super) fn map_distances_reference<R: Send>(
    features: &[f32],
    c: usize,
    each: impl Fn(usize, &mut [f64]) -> R + Sync + Send,
) -> Vec<R> {
    for_each_row(features.len() / c, |i| {
        let row = &features[i * c..][..c];
        each(i, &mut features.chunks_exact(c).map(|other| squared_distance(row, other)).collect::<Vec<f64>>())
    })
}

/// [`map_distances_reference`] in f32, one running sum a pair, as the shaders compute it.
pub(super) fn map_distances<R: Send>(
    features: &[f32],
    c: usize,
    each: impl Fn(usize, &mut [f32]) -> R + Sync + Send,
) -> Vec<R> {
    let rows = View::rows(features, c);
    let n = features.len() / c;
    let columns = Panels::new(rows.transposed());
    let blocks: Vec<Vec<R>> = for_each_row(n.div_ceil(BLOCK_ROWS), |block| {
        let first = block * BLOCK_ROWS;
        let count = BLOCK_ROWS.min(n - first);
        let mut distances = vec![0.0; count * n];
        columns.pair::<SquaredDifference>(rows.part(first, count), &mut distances);
        distances.iter_mut().for_each(|distance| *distance /= c as f32);
        (first..).zip(distances.chunks_exact_mut(n)).map(|(i, distances)| each(i, distances)).collect()
    });
    blocks.into_iter().flatten().collect()
}

/// `|a - b|^2 / C`. Eight running sums, so that the compiler may use vector instructions.
pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0f64; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            let difference = f64::from(a[lane]) - f64::from(b[lane]);
            sums[lane] += difference * difference;
        }
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        let difference = f64::from(*a) - f64::from(*b);
        sums[0] += difference * difference;
    }
    sums.iter().sum::<f64>() / a.len() as f64
}
