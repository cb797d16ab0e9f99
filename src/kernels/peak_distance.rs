//! Distance of every patch to a denser one (MODEL: `delta`).

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

use super::distances::{map_distances, map_distances_reference};
use super::launch::{Launch, PEAK_DISTANCE, REDUCE_PEAKS, Spans, dispatch_2d, empty, matrix};

/// Smallest distance to a higher patch (-1 where there is none) and largest distance to any patch. Patch `j` is higher
/// than `i` when its density is greater, or equal with `j < i`.
///
/// # Shapes
/// - `features`: `[N, C]`
/// - `density`: `[N]`
/// - output: `[2, N]`
pub fn peak_distance_reference(features: &[f32], c: usize, density: &[f32]) -> Vec<f32> {
    two_rows(map_distances_reference(features, c, |i, distances| peak(i, density, distances)))
}

/// [`launch`] on the CPU.
pub(super) fn peaks_on_cpu(features: &[f32], c: usize, density: &[f32]) -> Vec<f32> {
    two_rows(map_distances(features, c, |i, distances| peak(i, density, distances)))
}

/// Of patch `i`, given its squared distances to all.
fn peak<D: Copy + Into<f64>>(i: usize, density: &[f32], distances: &[D]) -> (f32, f32) {
    let mut to_higher: Option<f64> = None;
    let mut farthest = 0.0f64;
    for (j, &distance) in distances.iter().enumerate() {
        let distance = distance.into();
        farthest = farthest.max(distance);
        let is_higher = density[j] > density[i] || (density[j] == density[i] && j < i);
        if is_higher && to_higher.is_none_or(|nearest| distance < nearest) {
            to_higher = Some(distance);
        }
    }
    (to_higher.map_or(-1.0, |distance| distance.sqrt() as f32), farthest.sqrt() as f32)
}

fn two_rows(peaks: Vec<(f32, f32)>) -> Vec<f32> {
    let (delta, farthest): (Vec<f32>, Vec<f32>) = peaks.into_iter().unzip();
    [delta, farthest].concat()
}

pub(super) fn launch(features: CubeTensor, density: CubeTensor) -> CubeTensor {
    let shape @ [n, _] = matrix(&features);
    let spans = Spans::new(shape, 0, 8);
    let found = empty(&features, [spans.count, 2, n], DType::F32);
    for (params, groups) in spans.dispatches(shape, 0) {
        let launch = Launch::new(PEAK_DISTANCE, features.clone()).params(&params).input(density.clone());
        launch.in_place(&found).run(groups);
    }
    let params = [n, spans.count].map(|number| number as u32);
    let (launch, peaks) = Launch::new(REDUCE_PEAKS, found).params(&params).output([2, n], DType::F32);
    launch.run(dispatch_2d(n.div_ceil(REDUCE_PEAKS.workgroup as usize)));
    peaks
}
