//! Local density of every patch (MODEL: `rho`; reference code `tokenizer.py::cluster_dpc_knn`).

use crate::limits::MAX_NEIGHBORS;
use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

use super::distances::{map_distances, map_distances_reference};
use super::launch::{KNN_DENSITY, Launch, REDUCE_NEIGHBORS, Spans, dispatch_2d, empty, matrix};

/// `exp(-mean of the k smallest squared distances)`, the patch itself included; -1 for a patch that is not finite.
///
/// # Shapes
/// - `features`: `[N, C]`
/// - output: `[N]`
pub fn knn_density_reference(features: &[f32], c: usize, k: usize) -> Vec<f32> {
    map_distances_reference(features, c, |i, distances| density(&features[i * c..][..c], distances, k))
}

/// [`launch`] on the CPU.
pub(super) fn density_on_cpu(features: &[f32], c: usize, k: usize) -> Vec<f32> {
    map_distances(features, c, |i, distances| density(&features[i * c..][..c], distances, k))
}

/// Of one patch, given its distances to all.
fn density<D: Copy + Into<f64>>(patch: &[f32], distances: &mut [D], k: usize) -> f32 {
    if patch.iter().any(|x| !x.is_finite()) {
        return -1.0;
    }
    distances.select_nth_unstable_by(k - 1, |&a, &b| a.into().total_cmp(&b.into()));
    let mean = distances[..k].iter().map(|&distance| distance.into()).sum::<f64>() / k as f64;
    (-mean).exp() as f32
}

pub(super) fn launch(features: CubeTensor, k: usize) -> CubeTensor {
    let shape @ [n, c] = matrix(&features);
    // A neighbour is compared with all before it, which are moved; and all are written.
    let spans = Spans::new(shape, k + 1, 2 * MAX_NEIGHBORS);
    let nearest = empty(&features, [spans.count, n, k], DType::F32);
    for (params, groups) in spans.dispatches(shape, k) {
        Launch::new(KNN_DENSITY, features.clone()).params(&params).in_place(&nearest).run(groups);
    }
    let params = [n, c, k, spans.count].map(|number| number as u32);
    let (launch, density) =
        Launch::new(REDUCE_NEIGHBORS, features).params(&params).input(nearest).output([n], DType::F32);
    launch.run(dispatch_2d(n));
    density
}
