//! Density peaks, stage by stage.

use super::*;

/// Patches, width, k: a block multiple, ragged ones, C below and not a multiple of 4, the largest k, one patch.
const SHAPES: [(usize, usize, usize); 7] =
    [(64, 16, 5), (37, 13, 4), (100, 3, 3), (33, 1, 2), (65, 50, 32), (256, 192, 4), (1, 7, 1)];

async fn cluster_mean(features: &[f32], shape: [usize; 2], labels: &[i32], clusters: usize) -> Vec<f32> {
    let device = gpu().await.device;
    let x = matrix(features, shape, &device).into_dispatch();
    let means = Dispatch::cluster_mean(x, ints(labels, &device).into_dispatch(), clusters);
    floats(Tensor::<2>::from_dispatch(means)).await
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn knn_density_by_hand() {
    // Squared distances / 2 from (0,0): 0, 2, 8, 50. With k = 2 the density is exp(-(0 + nearest) / 2).
    let features = [0.0, 0.0, 2.0, 0.0, 0.0, 4.0, 6.0, 8.0];
    let expected: Vec<f32> = [2.0f32, 2.0, 8.0, 26.0].iter().map(|nearest| (-nearest / 2.0).exp()).collect();
    assert_close("gpu", &knn_density(&features, [4, 2], 2).await, &expected, 1e-6);
    assert_close("reference", &knn_density_reference(&features, 2, 2), &expected, 1e-6);
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn knn_density_equals_its_reference() {
    for (n, c, k) in SHAPES {
        let features = noise(n * c, 1);
        let reference = knn_density_reference(&features, c, k);
        for device in [gpu().await.device, cpu().await.device] {
            let ours = knn_density_on(&device, &features, [n, c], k).await;
            assert_close(&format!("{n} x {c}, k {k} on {device:?}"), &ours, &reference, TOLERANCE);
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn knn_density_marks_what_is_not_finite() {
    let (n, c) = (70, 5);
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut features = noise(n * c, 2);
        features[66 * c + 3] = poison;
        for device in [gpu().await.device, cpu().await.device] {
            let density = knn_density_on(&device, &features, [n, c], 4).await;
            assert_eq!(density[66], -1.0, "{poison}");
            let others = density.iter().enumerate().filter(|(i, _)| *i != 66);
            assert!(others.into_iter().all(|(_, d)| *d >= 0.0), "{poison}: only the bad row is marked");
        }
        assert_eq!(knn_density_reference(&features, c, 4)[66], -1.0, "{poison}");
    }
    // Large, tiny and negative zero are numbers like any other.
    let mut features = noise(n * c, 2);
    for (i, value) in [f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45, -0.0].into_iter().enumerate() {
        features[i * c] = value;
    }
    let reference = knn_density_reference(&features, c, 4);
    for device in [gpu().await.device, cpu().await.device] {
        assert_close("extremes", &knn_density_on(&device, &features, [n, c], 4).await, &reference, TOLERANCE);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn equal_patches_have_density_one_and_delta_zero() {
    let (n, c) = (67, 9);
    let features = vec![0.7; n * c];
    let density = knn_density(&features, [n, c], 3).await;
    assert_eq!(density, vec![1.0; n], "the distance of equal patches is exactly 0");
    let peaks = peak_distance(&features, [n, c], &density).await;
    let mut expected = vec![0.0; 2 * n];
    expected[0] = -1.0; // ties go to the lower index, so patch 0 is the global peak
    assert_eq!(peaks, expected);
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn peak_distance_equals_its_reference() {
    for (n, c, k) in SHAPES {
        let features = noise(n * c, 3);
        let density = knn_density_reference(&features, c, k); // the same stored densities for both
        let reference = peak_distance_reference(&features, c, &density);
        for device in [gpu().await.device, cpu().await.device] {
            let ours = peak_distance_on(&device, &features, [n, c], &density).await;
            assert_close(&format!("{n} x {c} on {device:?}"), &ours, &reference, TOLERANCE);
        }
    }
}

/// Wide features and many neighbours, so that two thousand columns are more than a pass takes. Natively only: minutes on a
/// software adapter in a page.
#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn many_columns_take_several_spans() {
    let (n, c, k) = (2_100, 3, 32);
    let features = noise(n * c, 18);
    let density = knn_density_reference(&features, c, k);
    assert_close("density", &knn_density(&features, [n, c], k).await, &density, TOLERANCE);
    let c = 1_200;
    let features = noise(n * c, 19);
    let reference = peak_distance_reference(&features, c, &density);
    assert_close("peaks", &peak_distance(&features, [n, c], &density).await, &reference, TOLERANCE);
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn select_centers_equals_its_reference() {
    for n in [1, 5, 256, 700] {
        let density: Vec<f32> = noise(n, 4).iter().map(|x| x.abs()).collect();
        let mut peaks: Vec<f32> = noise(2 * n, 5).iter().map(|x| x.abs()).collect();
        peaks[n / 2] = -1.0;
        for (threshold, fallback, k_max) in [(0.3, 1, 16), (0.3, 1, 1024), (9.0, 1, 16), (9.0, 3, 16), (-1.0, 1, 7)] {
            let rule = CenterRule { threshold, fallback, k_max };
            let reference = select_centers_reference(&density, &peaks, rule);
            let ours = select_centers(&density, &peaks, rule).await;
            assert_close("scores", &ours.0, &reference.0, 1e-7);
            assert_eq!(ours.1, reference.1, "{n} patches, {rule:?}");
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn select_centers_prefers_the_lower_of_equal_scores_and_lists_them_in_order() {
    let n = 300;
    let (density, mut peaks) = (vec![0.5; n], vec![1.0; 2 * n]);
    peaks[0] = -1.0;
    let rule = CenterRule { threshold: 0.1, fallback: 1, k_max: 5 };
    let (_, ours) = select_centers(&density, &peaks, rule).await;
    assert_eq!(ours, selection(&[0, 1, 2, 3, 4], n, 5));
    peaks[299] = 3.0; // the best is last in the image, and still listed last
    peaks[17] = 2.0;
    let (_, ours) = select_centers(&density, &peaks, rule).await;
    assert_eq!(ours, selection(&[0, 1, 2, 17, 299], n, 5));
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn select_centers_passes_on_the_first_bad_row() {
    let mut density = vec![0.5; 300];
    (density[270], density[280]) = (-1.0, -1.0);
    let rule = CenterRule { threshold: 0.1, fallback: 1, k_max: 4 };
    let (_, raw) = select_centers(&density, &vec![1.0; 600], rule).await;
    assert_eq!(Selection::from_raw(&raw, 300).not_finite, Some(270));
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn assign_clusters_equals_its_reference() {
    for (n, c, count) in [(64, 16, 4), (37, 13, 3), (130, 33, 20), (1, 7, 1), (256, 192, 16)] {
        let features = blobs(n, c, count, 6);
        let centers: Vec<i32> = (0..count as i32).collect();
        let raw = selection(&centers, n, 32);
        let ours = assign_clusters(&features, [n, c], &raw).await;
        assert_eq!(ours, assign_clusters_reference(&features, c, &raw), "{n} x {c}, {count} centres");
        let expected: Vec<i32> = (0..n).map(|i| (i % count) as i32).collect();
        assert_eq!(ours, expected, "the blobs are found again");
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn assign_clusters_keeps_centers_and_breaks_ties_downwards() {
    // Patches 0 and 2 are the same point and both centres; patch 1 is as near to 0 as to 2 and 3.
    let features = [0.0, 1.0, 0.0, 2.0];
    let raw = selection(&[0, 2, 3], 4, 3);
    assert_eq!(assign_clusters(&features, [4, 1], &raw).await, [0, 0, 1, 2]);
    assert_eq!(assign_clusters_reference(&features, 1, &raw), [0, 0, 1, 2]);
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn cluster_mean_equals_its_reference() {
    for (n, c, clusters) in [(64, 64, 4), (37, 13, 5), (1, 1, 1), (200, 192, 16)] {
        let features = noise(n * c, 7);
        // The last cluster stays empty where there is more than one: its mean is 0, not NaN.
        let labels: Vec<i32> = (0..n).map(|i| (i % (clusters - 1).max(1)) as i32).collect();
        let reference = cluster_mean_reference(&features, c, &labels, clusters);
        let ours = cluster_mean(&features, [n, c], &labels, clusters).await;
        assert_close(&format!("{n} x {c}"), &ours, &reference, 1e-6);
    }
}
