//! Every patch joins its nearest centre.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

use super::distances::squared_distance;
use super::launch::{ASSIGN_CLUSTERS, Launch, MOST_ITERATIONS, dispatch_2d, empty, matrix};
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
    let most_centers = selection.meta.shape()[0] - 2;
    let (x, y) = dispatch_2d(n.div_ceil(PATCHES_PER_WORKGROUP));
    let labels = empty(&features, [n], DType::I32);
    let nearest = empty(&features, [n], DType::F32);
    // How many centres there are is known to the device alone; a launch for more than there are does nothing.
    for first in (0..most_centers.max(1)).step_by(centers_of_a_launch(c)) {
        let end = first + centers_of_a_launch(c);
        Launch::new(ASSIGN_CLUSTERS, features.clone())
            .params(&[n as u32, c as u32, x, first as u32, end as u32])
            .input(selection.clone())
            .in_place(&labels)
            .in_place(&nearest)
            .run((x, y));
    }
    labels
}

/// So many that no invocation goes through more iterations than every driver allows.
fn centers_of_a_launch(c: usize) -> usize {
    const CENTERS: usize = 16;
    const DEPTH: usize = 32;
    // Of a tile of centres, slice by slice: the patches' load, the centres', the products. Each loop takes one more, in which it
    // ends.
    let iterations = 2 + c.div_ceil(DEPTH) * (1 + (DEPTH + 1) + (2 + 1) + (DEPTH + 1));
    (MOST_ITERATIONS / iterations).max(1) * CENTERS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_launch_is_enough_for_our_models_and_many_are_short() {
        assert!(centers_of_a_launch(192) >= 1024);
        assert_eq!(centers_of_a_launch(1152), 400, "25 tiles of 2,522 iterations");
        assert_eq!(centers_of_a_launch(65_536), 16, "no fewer than a tile");
    }
}
