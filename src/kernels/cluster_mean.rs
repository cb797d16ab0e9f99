//! Mean of the patches of each cluster.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

use super::launch::{CLUSTER_MEAN, Launch, matrix};

const CHANNELS_PER_WORKGROUP: usize = 64;

/// Mean feature of each cluster; zeros for a cluster without patches.
///
/// # Shapes
/// - `features`: `[N, C]`
/// - `labels`: `[N]`
/// - output: `[L, C]`
pub fn cluster_mean_reference(features: &[f32], c: usize, labels: &[i32], clusters: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; clusters * c];
    let mut patches = vec![0.0f64; clusters];
    for (row, &label) in features.chunks_exact(c).zip(labels) {
        let label = label as usize;
        patches[label] += 1.0;
        for (sum, x) in sums[label * c..][..c].iter_mut().zip(row) {
            *sum += f64::from(*x);
        }
    }
    let mean = |(i, sum): (usize, &f64)| (sum / patches[i / c].max(1.0)) as f32;
    sums.iter().enumerate().map(mean).collect()
}

pub(super) fn launch(features: CubeTensor, labels: CubeTensor, clusters: usize) -> CubeTensor {
    let [n, c] = matrix(&features);
    let (launch, means) = Launch::new(CLUSTER_MEAN, features)
        .input(labels)
        .params(&[n as u32, c as u32])
        .output([clusters, c], DType::F32);
    launch.run((c.div_ceil(CHANNELS_PER_WORKGROUP) as u32, clusters as u32));
    means
}
