//! Every patch joins its nearest centre.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

use super::distances::squared_distance;
use super::launch::{ASSIGN_CLUSTERS, Launch, dispatch_2d, matrix};
use super::{Selection, for_each_row};

const PATCHES_PER_WORKGROUP: usize = 64;

/// Index of the nearest centre for every patch. Equal distances go to the lower centre; a centre belongs to itself.
///
/// # Shapes
/// - `features`: `[N, C]`
/// - `selection`: `[2 + k_max]`, see [`Selection`]
/// - output: `[N]`
pub fn assign_clusters_reference(features: &[f32], c: usize, selection: &[i32]) -> Vec<i32> {
    let rows: Vec<&[f32]> = features.chunks_exact(c).collect();
    let centers = Selection::from_raw(selection, rows.len()).centers;
    for_each_row(rows.len(), |i| {
        if let Some(own) = centers.iter().position(|&center| center == i) {
            return own as i32;
        }
        let mut nearest = (f64::INFINITY, 0);
        for (label, &center) in centers.iter().enumerate() {
            let distance = squared_distance(rows[i], rows[center]);
            if distance < nearest.0 {
                nearest = (distance, label as i32);
            }
        }
        nearest.1
    })
}

pub(super) fn launch(features: CubeTensor, selection: CubeTensor) -> CubeTensor {
    let [n, c] = matrix(&features);
    let (x, y) = dispatch_2d(n.div_ceil(PATCHES_PER_WORKGROUP));
    let (launch, labels) = Launch::new(ASSIGN_CLUSTERS, features)
        .params(&[n as u32, c as u32, x])
        .input(selection)
        .output([n], DType::I32);
    launch.run((x, y));
    labels
}
