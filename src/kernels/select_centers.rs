//! Choice of the cluster centres by `score = density * delta`.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

use super::launch::{Launch, SELECT_CENTERS};

/// Which patches become centres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CenterRule {
    /// A centre scores above this.
    pub threshold: f32,
    /// Centres when no patch does.
    pub fallback: usize,
    /// Centres at the most, at most [`MAX_CENTERS`](crate::limits::MAX_CENTERS).
    pub k_max: usize,
}

/// What `select_centers` wrote, read by name: `[count, first not finite patch, centres..]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Patch indices of the centres, ascending.
    pub centers: Vec<usize>,
    /// The first patch whose features are not all finite.
    pub not_finite: Option<usize>,
}

impl Selection {
    /// Reads the raw output for `n` patches.
    pub fn from_raw(raw: &[i32], n: usize) -> Self {
        let index = |value: i32| usize::try_from(value).unwrap_or(0);
        let count = index(raw[0]).min(raw.len() - 2);
        Self {
            centers: raw[2..2 + count].iter().map(|&center| index(center)).collect(),
            not_finite: Some(index(raw[1])).filter(|&row| row < n),
        }
    }
}

/// Finishes delta (the global peak gets the largest distance of all), scores the patches and picks the centres: those
/// above the threshold; the best `fallback` if there is none; the `k_max` best if there are more. Equal scores go to the lower
/// index. Returns the scores (delta, then score) and the raw selection, see [`Selection`].
///
/// # Shapes
/// - `density`: `[N]`
/// - `peaks`: `[2, N]`
/// - output: `[2, N]` and `[2 + k_max]`
pub fn select_centers_reference(
    density: &[f32],
    peaks: &[f32],
    CenterRule { threshold, fallback, k_max }: CenterRule,
) -> (Vec<f32>, Vec<i32>) {
    let n = density.len();
    let (delta, farthest) = peaks.split_at(n);
    let global_delta = farthest.iter().copied().fold(0.0, f32::max);
    let delta: Vec<f32> = delta.iter().map(|&d| if d < 0.0 { global_delta } else { d }).collect();
    let score: Vec<f32> = density.iter().zip(&delta).map(|(density, delta)| density * delta).collect();

    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| score[b].total_cmp(&score[a]).then(a.cmp(&b)));
    let above = order.iter().filter(|&&i| score[i] > threshold).count();
    let wanted = if above > 0 { above } else { fallback };
    let mut centers = order[..wanted.min(k_max).min(n)].to_vec();
    centers.sort_unstable();

    let not_finite = density.iter().position(|&d| d < 0.0).unwrap_or(n);
    let mut selection = vec![centers.len() as i32, not_finite as i32];
    selection.extend(centers.iter().map(|&center| center as i32));
    selection.resize(2 + k_max, n as i32);
    ([delta, score].concat(), selection)
}

pub(super) fn launch(density: CubeTensor, peaks: CubeTensor, rule: CenterRule) -> (CubeTensor, CubeTensor) {
    let n = density.meta.shape()[0];
    let (launch, scores) = Launch::new(SELECT_CENTERS, density)
        .input(peaks)
        .params(&[n as u32, rule.k_max as u32, rule.threshold.to_bits(), rule.fallback as u32])
        .output([2, n], DType::F32);
    let (launch, selection) = launch.output([2 + rule.k_max], DType::I32);
    launch.run((1, 1));
    (scores, selection)
}
