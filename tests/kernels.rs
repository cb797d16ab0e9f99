//! Every WGSL kernel against the plain reference of the same name, on whatever GPU adapter there is; and the CPU's vector
//! code where it is ours.

mod common;

use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use common::{assert_close, blobs, cpu, floats, gpu, integers, ints, matrix, noise, vector};
use setokim::kernels::composite_layers::composite_layers;
use setokim::kernels::decoder::{Cache, Next, cached_attention, rms_norm, swiglu, top2};
use setokim::kernels::dense::{attention, conv2d, gelu_of_kind, layer_norm, linear, matmul, softmax};
use setokim::kernels::epilogue::{Epilogue, Norm};
use setokim::kernels::{
    CenterRule, ClusterOps, Conv2dShape, DeviceSampling, Gelu, MAX_RUN_AHEAD, MAX_TOP_K, SHADERS, Selection,
    TokenChoice, append_kv_reference, assign_clusters_reference, attention_reference, causal_attention_reference,
    cluster_mean_reference, composite_layers_reference, conv2d_reference, gelu_reference, knn_density_reference,
    layer_norm_reference, matmul_reference, next_token_reference, peak_distance_reference, rms_norm_reference,
    rotate_reference, sample_token_reference, select_centers_reference, softmax_reference, swiglu_reference,
    top2_reference,
};
use setokim::runtime::selftest;
use wasm_bindgen_test::wasm_bindgen_test;

/// Sums of up to 200 squares of numbers near 1 in f32 against f64; exp and sqrt are good to a few units in the last offset.
const TOLERANCE: f32 = 2e-5;

/// Patches, width, k: a block multiple, ragged ones, C below and not a multiple of 4, the largest k, one patch.
const SHAPES: [(usize, usize, usize); 7] =
    [(64, 16, 5), (37, 13, 4), (100, 3, 3), (33, 1, 2), (65, 50, 32), (256, 192, 4), (1, 7, 1)];

async fn knn_density(features: &[f32], shape: [usize; 2], k: usize) -> Vec<f32> {
    knn_density_on(&gpu().await.device, features, shape, k).await
}

async fn knn_density_on(device: &Device, features: &[f32], shape: [usize; 2], k: usize) -> Vec<f32> {
    let x = matrix(features, shape, device).into_dispatch();
    floats(Tensor::<1>::from_dispatch(Dispatch::knn_density(x, k))).await
}

async fn peak_distance(features: &[f32], shape: [usize; 2], density: &[f32]) -> Vec<f32> {
    peak_distance_on(&gpu().await.device, features, shape, density).await
}

async fn peak_distance_on(device: &Device, features: &[f32], shape: [usize; 2], density: &[f32]) -> Vec<f32> {
    let (x, density) = (matrix(features, shape, device).into_dispatch(), vector(density, device).into_dispatch());
    floats(Tensor::<2>::from_dispatch(Dispatch::peak_distance(x, density))).await
}

async fn select_centers(density: &[f32], peaks: &[f32], rule: CenterRule) -> (Vec<f32>, Vec<i32>) {
    let device = gpu().await.device;
    let peaks = matrix(peaks, [2, density.len()], &device).into_dispatch();
    let (scores, selection) = Dispatch::select_centers(vector(density, &device).into_dispatch(), peaks, rule);
    let scores = floats(Tensor::<2>::from_dispatch(scores)).await;
    (scores, integers(Tensor::<1, Int>::from_dispatch(selection)).await)
}

async fn assign_clusters(features: &[f32], shape: [usize; 2], selection: &[i32]) -> Vec<i32> {
    let device = gpu().await.device;
    let x = matrix(features, shape, &device).into_dispatch();
    let labels = Dispatch::assign_clusters(x, ints(selection, &device).into_dispatch());
    integers(Tensor::<1, Int>::from_dispatch(labels)).await
}

async fn cluster_mean(features: &[f32], shape: [usize; 2], labels: &[i32], clusters: usize) -> Vec<f32> {
    let device = gpu().await.device;
    let x = matrix(features, shape, &device).into_dispatch();
    let means = Dispatch::cluster_mean(x, ints(labels, &device).into_dispatch(), clusters);
    floats(Tensor::<2>::from_dispatch(means)).await
}

/// `[count, no bad row, centres.., padding]` as `select_centers` writes it.
fn selection(centers: &[i32], n: usize, k_max: usize) -> Vec<i32> {
    let mut raw = vec![centers.len() as i32, n as i32];
    raw.extend(centers);
    raw.resize(2 + k_max, n as i32);
    raw
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

/// So many and so wide that one launch would go through more iterations than llvmpipe allows.
#[wasm_bindgen_test(unsupported = tokio::test)]
async fn assign_clusters_takes_as_many_wide_centers_as_there_can_be() {
    let (n, c, count) = (1100, 1152, 1024);
    let features = blobs(n, c, count, 8);
    let raw = selection(&(0..count as i32).collect::<Vec<_>>(), n, count);
    let expected: Vec<i32> = (0..n).map(|i| (i % count) as i32).collect();
    assert_eq!(assign_clusters(&features, [n, c], &raw).await, expected);
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn select_centers_takes_as_many_as_there_can_be() {
    let n = setokim::limits::MAX_PATCHES;
    let density: Vec<f32> = noise(n, 14).iter().map(|x| x.abs()).collect();
    let mut peaks: Vec<f32> = noise(2 * n, 15).iter().map(|x| x.abs()).collect();
    // The best scores are all of the patches of one invocation, which looks for its next each time.
    (0..n).step_by(256).for_each(|i| peaks[i] += 8.0);
    peaks[n / 2] = -1.0;
    let rule = CenterRule { threshold: 0.1, fallback: 1, k_max: setokim::limits::MAX_CENTERS };
    let reference = select_centers_reference(&density, &peaks, rule);
    assert_eq!(select_centers(&density, &peaks, rule).await.1, reference.1);
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

/// Rows, inner size, columns: whole tiles, ragged ones, a single row, column and number.
const PRODUCTS: [[usize; 3]; 6] = [[64, 16, 64], [70, 29, 90], [1, 64, 65], [5, 100, 1], [1, 1, 1], [128, 192, 64]];

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn matmul_equals_its_reference_with_and_without_bias() {
    matmul_on(&gpu().await.device).await;
    matmul_on(&cpu().await.device).await;
}

/// Two sums of up to fifteen, times each other.
const GATED_TOLERANCE: f32 = 3e-4;

async fn matmul_on(device: &Device) {
    for [rows, inner, columns] in PRODUCTS {
        let (a, b, bias) = (noise(rows * inner, 11), noise(inner * columns, 12), noise(columns, 13));
        let what = format!("[{rows}, {inner}] x [{inner}, {columns}]");
        let (x, w) = (matrix(&a, [rows, inner], device), matrix(&b, [inner, columns], device));
        let with_bias = matmul_reference(&a, &b, &bias, inner);
        let ours = linear(x.clone(), w.clone(), Epilogue::bias(vector(&bias, device)));
        assert_close(&what, &floats(ours).await, &with_bias, TOLERANCE);
        // A norm before it, a GELU and a residual after it.
        let (norm, residual) = (noise(inner, 33), noise(rows * columns, 34));
        let normal = rms_norm_reference(&a, &norm, 1e-5);
        let epilogue = gelu_reference(&matmul_reference(&normal, &b, &bias, inner), Gelu::Exact);
        let epilogue: Vec<f32> = epilogue.iter().zip(&residual).map(|(y, residual)| y + residual).collect();
        let ours = Epilogue {
            norm: Some(Norm { weight: vector(&norm, device), eps: 1e-5 }),
            gelu: Some(Gelu::Exact),
            residual: Some(matrix(&residual, [rows, columns], device)),
            ..Epilogue::bias(vector(&bias, device))
        };
        assert_close(&what, &floats(linear(x.clone(), w.clone(), ours)).await, &epilogue, TOLERANCE);
        // A residual that lies column by column.
        let rotated: Vec<f32> = (0..rows * columns).map(|i| residual[i % rows * columns + i / rows]).collect();
        let ours =
            Epilogue { residual: Some(matrix(&rotated, [columns, rows], device).transpose()), ..Epilogue::default() };
        let plain = matmul_reference(&a, &b, &vec![0.0; columns], inner);
        let onto: Vec<f32> = plain.iter().zip(&residual).map(|(y, residual)| y + residual).collect();
        assert_close(&what, &floats(linear(x.clone(), w.clone(), ours)).await, &onto, TOLERANCE);
        let reference = matmul_reference(&a, &b, &vec![0.0; columns], inner);
        assert_close(&what, &floats(matmul(x.clone(), w.clone())).await, &reference, TOLERANCE);
        // Weights come transposed from a checkpoint, and are read where they lie.
        let rotated: Vec<f32> = (0..inner * columns).map(|i| b[i % inner * columns + i / inner]).collect();
        let rotated = matrix(&rotated, [columns, inner], device).transpose();
        assert_close(&what, &floats(linear(x.clone(), rotated, Epilogue::default())).await, &reference, TOLERANCE);
        if columns.is_multiple_of(2) {
            let swiglu_epilogue = linear(x, w, Epilogue { is_swiglu: true, ..Epilogue::default() });
            let known = swiglu_reference(&reference, columns / 2);
            assert_close(&what, &floats(swiglu_epilogue).await, &known, GATED_TOLERANCE);
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn matmul_takes_batches_views_and_one_matrix_for_all() {
    batches_on(&gpu().await.device).await;
    batches_on(&cpu().await.device).await;
}

async fn batches_on(device: &Device) {
    let (outer, inner_batch, rows, inner, columns) = (2, 3, 5, 7, 9);
    let (a, b) = (noise(outer * inner_batch * rows * inner, 14), noise(inner_batch * inner * columns, 15));
    // [outer, rows, inner_batch, inner] encoded as [outer, inner_batch, rows, inner], as heads are.
    let x = vector(&a, device).reshape([outer, rows, inner_batch, inner]).swap_dims(1, 2);
    let w = vector(&b, device).reshape([1, inner_batch, inner, columns]);
    let mut expected = Vec::new();
    for batch in 0..outer * inner_batch {
        let (o, i) = (batch / inner_batch, batch % inner_batch);
        let row = |row: usize| &a[((o * rows + row) * inner_batch + i) * inner..][..inner];
        let a: Vec<f32> = (0..rows).flat_map(row).copied().collect();
        expected.extend(matmul_reference(&a, &b[i * inner * columns..][..inner * columns], &[0.0; 9], inner));
    }
    assert_close("batches", &floats(matmul(x, w)).await, &expected, TOLERANCE);
    // One column and one row, each seen as many without being copied.
    let (column, row) = (noise(rows, 40), noise(columns, 41));
    let x = matrix(&column, [rows, 1], device).expand([rows, inner]);
    let w = matrix(&row, [1, columns], device).expand([inner, columns]);
    let expected: Vec<f32> = column.iter().flat_map(|x| row.iter().map(move |w| inner as f32 * x * w)).collect();
    assert_close("one for all", &floats(matmul(x, w)).await, &expected, TOLERANCE);
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn conv2d_equals_its_reference() {
    conv2d_on(&gpu().await.device).await;
    conv2d_on(&cpu().await.device).await;
}

async fn conv2d_on(device: &Device) {
    // Strides and paddings of the stem, of patches, of the refinement and of 1 x 1; sides that leave a rest.
    for (inputs, [height, width], outputs, kernel, stride, padding) in [
        (3, [12, 16], 8, 3, 2, 1),
        (3, [16, 16], 40, 8, 8, 0),
        (9, [7, 11], 3, 3, 1, 1),
        (33, [5, 5], 34, 1, 1, 0),
        (1, [1, 1], 1, 3, 2, 1),
        (2, [2, 3], 3, 5, 1, 2), // a kernel wider than the image
    ] {
        let shape = Conv2dShape { inputs, height, width, outputs, kernel, stride, padding };
        let (x, weight) = (noise(inputs * height * width, 16), noise(outputs * inputs * kernel * kernel, 17));
        let bias = noise(outputs, 18);
        let weights = vector(&weight, device).reshape([outputs, inputs, kernel, kernel]);
        let pixels = vector(&x, device).reshape([1, inputs, height, width]);
        let ours = conv2d(pixels, weights, vector(&bias, device), stride, padding);
        let [rows, columns] = shape.output();
        assert_eq!(ours.dims(), [1, outputs, rows, columns]);
        let reference = conv2d_reference(&x, &weight, &bias, shape);
        assert_close(&format!("{shape:?}"), &floats(ours).await, &reference, TOLERANCE);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn attention_equals_its_reference() {
    attention_on(&gpu().await.device).await;
    attention_on(&cpu().await.device).await;
}

async fn attention_on(device: &Device) {
    for (heads, read, seen, head_dim) in [(3, 40, 40, 16), (1, 1, 1, 4), (2, 5, 130, 64)] {
        let width = heads * head_dim;
        let (q, k, v) = (noise(read * width, 19), noise(seen * width, 20), noise(seen * width, 21));
        let split = |x: &[f32], count| vector(x, device).reshape([1, count, heads, head_dim]).swap_dims(1, 2);
        let ours = floats(attention(split(&q, read), split(&k, seen), split(&v, seen))).await;
        let of_head = |x: &[f32], head: usize| -> Vec<f32> {
            x.chunks_exact(width).flat_map(|row| &row[head * head_dim..][..head_dim]).copied().collect()
        };
        let head = |head| attention_reference(&of_head(&q, head), &of_head(&k, head), &of_head(&v, head), head_dim);
        let expected: Vec<f32> = (0..heads).flat_map(head).collect();
        assert_close(&format!("{heads} heads, {read} x {seen}"), &ours, &expected, TOLERANCE);
    }
    // Scores far apart: exponentials that overflow and vanish without the row's maximum.
    let (q, k, v) = ([100.0, 0.0], [90.0, 0.0, -90.0, 0.0], [1.0, 2.0, 3.0, 4.0]);
    let all = |x: &[f32], count| vector(x, device).reshape([1, 1, count, 2]);
    let ours = floats(attention(all(&q, 1), all(&k, 2), all(&v, 2))).await;
    assert_close("far apart", &ours, &[1.0, 2.0], 1e-6);
}

/// Natively only: more scores than are held at a time are seventeen million.
#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn attention_to_many_positions_goes_in_parts() {
    const MANY: usize = 4200;
    for device in [gpu().await.device, cpu().await.device] {
        let [q, k, v] = [37, 38, 39].map(|seed| vector(&noise(MANY * 4, seed), &device).reshape([1, 1, MANY, 4]));
        let whole = attention(q.clone(), k.clone(), v.clone());
        for first in [0, 2000, MANY - 100] {
            let part = attention(q.clone().narrow(2, first, 100), k.clone(), v.clone());
            let ours = floats(whole.clone().narrow(2, first, 100)).await;
            assert_close(&format!("from {first} on"), &ours, &floats(part).await, 1e-6);
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn gelu_equals_its_reference() {
    // From where it is 0 to where it is x, finely, and what is far from everything.
    let mut x: Vec<f32> = (-8000..=8000).map(|i| i as f32 / 1000.0).collect();
    x.extend([0.0, -0.0, 1e-30, -1e30, 1e30]);
    for (kind, device) in [
        (Gelu::Exact, gpu().await.device),
        (Gelu::Exact, cpu().await.device),
        (Gelu::Tanh, cpu().await.device),
        (Gelu::Tanh, gpu().await.device),
    ] {
        let ours = floats(gelu_of_kind(vector(&x, &device), kind)).await;
        for ((x, ours), expected) in x.iter().zip(&ours).zip(gelu_reference(&x, kind)) {
            // Half of x times an error function that is right to 5e-7.
            let tolerance = 5e-7 * x.abs().max(1.0);
            assert!((ours - expected).abs() <= tolerance, "{kind:?}({x}): {ours} and {expected} on {device:?}");
        }
        assert!(floats(gelu_of_kind(vector(&[f32::NAN], &device), kind)).await[0].is_nan());
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn layer_norm_equals_its_reference() {
    for device in [gpu().await.device, cpu().await.device] {
        // Rows, width, numbers with a weight of their own: features, and channels of several pixels.
        for (rows, width, weights) in [(1, 1, 1), (3, 64, 64), (5, 100, 100), (2, 576, 576), (2, 600, 12), (1, 770, 7)]
        {
            let x: Vec<f32> = noise(rows * width, 33).iter().map(|x| 3.0 + x).collect();
            let (weight, bias) = (noise(weights, 34), noise(weights, 35));
            let rows_of_x = matrix(&x, [rows, width], &device);
            let ours = floats(layer_norm(rows_of_x, vector(&weight, &device), vector(&bias, &device), 1e-5)).await;
            let expected = layer_norm_reference(&x, &weight, &bias, width, 1e-5);
            assert_close(&format!("{rows} x {width}, {weights} weights"), &ours, &expected, TOLERANCE);
        }
        let poisoned = matrix(&[1.0, f32::NAN, 2.0], [1, 3], &device);
        let ours = floats(layer_norm(poisoned, vector(&[1.0; 3], &device), vector(&[0.0; 3], &device), 1e-5)).await;
        assert!(ours.iter().all(|y| y.is_nan()), "{ours:?}");
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn softmax_equals_its_reference() {
    for device in [gpu().await.device, cpu().await.device] {
        let x = noise(2 * 3 * 70, 36);
        let ours = floats(softmax(vector(&x, &device).reshape([2, 3, 70]))).await;
        assert_close("softmax", &ours, &softmax_reference(&x, 70, 1.0), 1e-6);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn rms_norm_equals_its_reference() {
    for device in [gpu().await.device, cpu().await.device] {
        for (rows, width) in [(1, 1), (3, 64), (5, 100), (2, 576)] {
            let (x, weight) = (noise(rows * width, 22), noise(width, 23));
            let ours = floats(rms_norm(matrix(&x, [rows, width], &device), vector(&weight, &device), 1e-5)).await;
            assert_close(&format!("{rows} x {width}"), &ours, &rms_norm_reference(&x, &weight, 1e-5), TOLERANCE);
        }
        let poisoned = matrix(&[1.0, f32::NAN, 2.0], [1, 3], &device);
        let ours = floats(rms_norm(poisoned, vector(&[1.0; 3], &device), 1e-5)).await;
        assert!(ours.iter().all(|y| y.is_nan()), "{ours:?}");
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn swiglu_equals_its_reference() {
    for device in [gpu().await.device, cpu().await.device] {
        let mut gates: Vec<f32> = (-300..=300).map(|i| i as f32 / 10.0).collect();
        gates.extend([0.0, -1e30, 1e30, 100.0, -100.0]);
        let up = noise(gates.len(), 24);
        for width in [1, 3, gates.len()] {
            let rows = gates.chunks_exact(width).zip(up.chunks_exact(width));
            let x: Vec<f32> = rows.flat_map(|(gates, up)| [gates, up].concat()).collect();
            let ours = floats(swiglu(matrix(&x, [x.len() / 2 / width, 2 * width], &device))).await;
            for ((gate, ours), expected) in gates.iter().zip(&ours).zip(swiglu_reference(&x, width)) {
                let tolerance = 1e-6 * gate.abs().max(1.0);
                assert!(
                    (ours - expected).abs() <= tolerance,
                    "silu({gate}): ours {ours}, theirs {expected}, {device:?}"
                );
            }
        }
        assert!(floats(swiglu(matrix(&[f32::NAN, 1.0], [1, 2], &device))).await[0].is_nan());
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn top2_equals_its_reference() {
    let mut rows: Vec<Vec<f32>> = [1, 2, 255, 256, 257, 911, 5000].map(|count| noise(count, count as u64)).into();
    rows.push(vec![1.0, 3.0, 2.0, 3.0, -1.0]); // equals: the lower id first
    rows.push(vec![0.25; 700]);
    rows.push(vec![f32::MIN, -1e30, f32::MIN]);
    let mut poisoned = noise(600, 7);
    (poisoned[300], poisoned[511]) = (f32::NAN, -f32::NAN);
    rows.push(poisoned);
    rows.push(vec![f32::NAN; 3]);
    for device in [gpu().await.device, cpu().await.device] {
        for row in &rows {
            let found = words(top2(matrix(row, [1, row.len()], &device))).await;
            assert_eq!(found, top2_reference(row), "{} logits on {device:?}", row.len());
            assert!((found[0] as usize) < row.len(), "{} logits on {device:?}", row.len());
        }
    }
}

/// Rows of logits of all kinds, and how tokens are drawn from each: as few as can be and as many, from a few and from all.
fn rows_and_draws() -> Vec<(Vec<f32>, DeviceSampling)> {
    let scaled = |count: usize, by: f32| noise(count, count as u64).iter().map(|x| by * x).collect::<Vec<f32>>();
    let mut rows: Vec<Vec<f32>> = [1, 2, 40, 64, 65, 257, 911, 5000].map(|count| scaled(count, 4.0)).into();
    rows.push(vec![0.25; 700]); // equals: the lower ids
    rows.push([vec![-1.5; 300], vec![2.5; 300]].concat());
    rows.push((0..3000).map(|i| (i % 7) as f32).collect()); // more equals than are drawn among
    rows.push((0..900).map(|i| 1.0 + i as f32 * f32::EPSILON).collect()); // the last digit of the logit decides
    rows.push(vec![-1e30, -0.0, 0.0, f32::MIN]); // both zeros are equal
    let settings = [(1, 1.0, 1.0), (2, 0.5, 1.0), (40, 0.7, 0.95), (MAX_TOP_K, 3.0, 0.6), (MAX_TOP_K, 0.05, 1.0)];
    let with_settings = |row: Vec<f32>| {
        settings.map(|(top_k, temperature, top_p)| {
            (
                row.clone(),
                DeviceSampling {
                    top_k,
                    temperature,
                    top_p,
                    uniforms: std::array::from_fn(|i| (i as f32 + 0.37) / 16.0),
                },
            )
        })
    };
    rows.into_iter().flat_map(with_settings).collect()
}

/// Whether a token is drawn that is not the reference's, though a number so little different would draw it: sums are f32.
fn is_near(logits: &[f32], how: &DeviceSampling, at: usize, id: u32) -> bool {
    let with = |number: f32| {
        let mut how = *how;
        how.uniforms[at] = number;
        sample_token_reference(logits, &how, at)[0]
    };
    let number = how.uniforms[at];
    [-1e-5, 1e-5].iter().any(|little| with((number + little).clamp(0.0, 1.0)) == id)
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn sample_token_equals_its_reference() {
    const FIRST: u32 = 2_045; // the ring's rows are not in step with the numbers
    for device in [gpu().await.device, cpu().await.device] {
        let mut near = 0;
        for (row, how) in rows_and_draws() {
            let mut next = Next::new(true, &device);
            for at in [0, 3, 9, MAX_RUN_AHEAD - 1] {
                next.begin(0, FIRST, Some(&how));
                next.offset = word(FIRST as usize + at, &device);
                let found = words(next.choose(matrix(&row, [1, row.len()], &device))).await;
                let expected = sample_token_reference(&row, &how, at);
                assert_eq!(found[1..], expected[1..], "{} logits, {how:?} on {device:?}", row.len());
                if found[0] != expected[0] {
                    assert!(is_near(&row, &how, at, found[0]), "{found:?}, not {expected:?}: {how:?} on {device:?}");
                    near += 1;
                }
            }
        }
        assert!(near < 5, "{near} of 260 drawn otherwise on {device:?}");
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn sample_token_tells_of_what_is_no_number() {
    let how = DeviceSampling { top_k: 3, temperature: 1.0, top_p: 1.0, uniforms: [0.5; MAX_RUN_AHEAD] };
    let mut some = noise(600, 7);
    (some[300], some[511]) = (f32::NAN, -f32::NAN);
    for device in [gpu().await.device, cpu().await.device] {
        for row in [&some, &vec![f32::NAN; 3], &vec![f32::NAN, 1.0]] {
            let mut next = Next::new(true, &device);
            next.begin(0, 0, Some(&how));
            let found = words(next.choose(matrix(row, [1, row.len()], &device))).await;
            assert_eq!(found[1..], top2_reference(row)[1..], "{} logits on {device:?}", row.len());
            assert!((found[0] as usize) < row.len(), "{} logits on {device:?}", row.len());
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn next_token_equals_its_reference() {
    for device in [gpu().await.device, cpu().await.device] {
        let mut next = Next::new(false, &device);
        next.begin(41, 30, None);
        let (mut offset, mut ring) = (30, vec![0; MAX_RUN_AHEAD * TokenChoice::WORDS]);
        // Once round the ring, and two further.
        for step in 0..MAX_RUN_AHEAD + 2 {
            let found: Vec<u32> = (0..TokenChoice::WORDS).map(|i| (100 * step + i) as u32).collect();
            let expected = next_token_reference(&found, offset, &ring);
            next.take(Tensor::from_data(TensorData::new(found, [TokenChoice::WORDS]), (&device, DType::U32)));
            let ours = (words(next.id.clone()).await, words(next.offset.clone()).await, words(next.ring.clone()).await);
            assert_eq!(ours, (vec![expected.0], vec![expected.1], expected.2.clone()), "step {step} on {device:?}");
            (_, offset, ring) = expected;
        }
        next.begin(5, 0, None);
        assert_eq!((words(next.id).await, words(next.offset).await), (vec![5], vec![0]));
    }
}

fn word(word: usize, device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(vec![word as u32], [1]), (device, DType::U32))
}

async fn words(tensor: Tensor<1, Int>) -> Vec<u32> {
    tensor.into_data_async().await.expect("the device answers").try_into_vec().expect("words")
}

/// An image, layers by plane and their boxes on a device.
async fn pasted_on(device: &Device, image: &[f32], images: &[f32], boxes: &[f32]) -> Vec<f32> {
    let (size, layers) = ((image.len() / 3).isqrt(), boxes.len() / 3);
    let image = matrix(image, [3, size * size], device).reshape([3, size, size]);
    let images = matrix(images, [layers, images.len() / layers], device);
    floats(composite_layers(image, images, matrix(boxes, [layers, 3], device))).await
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn composite_layers_by_hand() {
    const OPAQUE: f32 = 40.0;
    // One texel, red, over the left upper quarter of an image of 2 x 2; then the same with its neighbour below, half clear.
    let image = [0.0; 12];
    let quarter = [0.25, 0.25, 0.5];
    let red = [1.0, 0.0, 0.0, OPAQUE];
    for device in [gpu().await.device, cpu().await.device] {
        let expected = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_close("one", &pasted_on(&device, &image, &red, &quarter).await, &expected, 1e-6);
        let (images, boxes) = ([1.0, 0.0, 0.0, OPAQUE, 0.0, 1.0, 0.0, 0.0], [0.25, 0.25, 0.5, 0.25, 0.75, 0.5]);
        let mut both = expected;
        both[4 + 2] = 0.5; // green, from an opacity whose sigmoid is a half
        assert_close("two", &pasted_on(&device, &image, &images, &boxes).await, &both, 1e-6);
        // Where both lie, red counts twice as much as green, and nothing shows through.
        let boxes = [0.25, 0.25, 0.5, 0.25, 0.25, 0.5];
        let mut mixed = [0.0; 12];
        (mixed[0], mixed[4]) = (2.0 / 3.0, 1.0 / 3.0);
        assert_close("mixed", &pasted_on(&device, &image, &images, &boxes).await, &mixed, 1e-6);
        // Halfway beside the pixel, half of it is there.
        let beside = pasted_on(&device, &image, &red, &[0.5, 0.25, 0.5]).await;
        let mut halves = [0.0; 12];
        (halves[0], halves[1]) = (0.5, 0.5);
        assert_close("beside", &beside, &halves, 1e-6);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn composite_layers_equals_its_reference() {
    // Sides of image and layer, layers: one pixel, no tile's multiple, more pixels than a workgroup has, larger than they are.
    for (size, side, layers) in [(1, 1, 1), (9, 5, 3), (32, 6, 16), (24, 40, 2)] {
        let (image, images) = (noise(3 * size * size, 31), noise(layers * 4 * side * side, 32));
        let mut boxes: Vec<f32> = noise(3 * layers, 33).iter().map(|v| 0.5 + 0.4 * v).collect();
        (boxes[0], boxes[1], boxes[2]) = (0.5, 0.4, 0.7);
        let reference = composite_layers_reference(&image, &images, &boxes);
        assert!(reference.iter().zip(&image).any(|(now, before)| now != before), "something is pasted");
        for device in [gpu().await.device, cpu().await.device] {
            // A share of a texel is known to a few units in the last place of a offset among forty.
            let ours = pasted_on(&device, &image, &images, &boxes).await;
            assert_close(&format!("{size}, {side} on {device:?}"), &ours, &reference, 1e-4);
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn composite_layers_leaves_out_what_has_no_side() {
    let (image, images) = (noise(3 * 16, 34), noise(2 * 4 * 9, 35));
    for device in [gpu().await.device, cpu().await.device] {
        for boxes in [[0.5, 0.5, 0.0, 0.5, 0.5, -1.0], [0.5, 0.5, f32::NAN, f32::NAN, 0.5, 0.5]] {
            assert_eq!(pasted_on(&device, &image, &images, &boxes).await, image, "{boxes:?} on {device:?}");
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn append_kv_and_causal_attention_equal_their_references() {
    cached_attention_on(&gpu().await.device).await;
    cached_attention_on(&cpu().await.device).await;
}

/// Two rounds with one cache: the second reads what the first wrote.
async fn cached_attention_on(device: &Device) {
    // Query heads, [heads of keys, capacity, head dim], positions of either round: the narrowest head, a width that leaves
    // lanes idle, tiles of keys that are full, and one key more, the widest head.
    for (heads, shape, rounds) in [
        (1, [1, 2, 4], [1, 1]),
        (6, [2, 40, 12], [33, 7]),
        (4, [4, 130, 64], [64, 1]),
        (3, [1, 300, 40], [257, 5]),
        (2, [1, 6, 256], [1, 4]),
        // One after a span of positions, and after two and a bit.
        (4, [2, 520, 8], [512, 1]),
        (3, [1, 1100, 4], [1030, 1]),
    ] {
        let [key_heads, capacity, head_dim] = shape;
        let (mut keys, mut values) =
            (noise(key_heads * capacity * head_dim, 25), noise(key_heads * capacity * head_dim, 26));
        let cached = |values: &[f32]| vector(values, device).reshape(shape);
        let mut cache = Cache { keys: cached(&keys), values: cached(&values) };
        let rotation = noise(capacity * head_dim, 30);
        let mut start = 0;
        for tokens in rounds {
            let numbers = |width: usize, seed: u64| noise(tokens * width, seed + start as u64);
            let (q, k, v) =
                (numbers(heads * head_dim, 27), numbers(key_heads * head_dim, 28), numbers(key_heads * head_dim, 29));
            let turns = &rotation[start * head_dim..][..tokens * head_dim];
            keys = append_kv_reference(&rotate_reference(&k, turns, head_dim), &keys, shape, start);
            values = append_kv_reference(&v, &values, shape, start);
            let expected = causal_attention_reference(&q, turns, [&keys, &values], shape, start);

            let of_token = |x: &[f32], at: usize| x[at * x.len() / tokens..][..x.len() / tokens].to_vec();
            let rows: Vec<f32> = (0..tokens).flat_map(|at| [&q, &k, &v].map(|x| of_token(x, at)).concat()).collect();
            let rows = matrix(&rows, [tokens, rows.len() / tokens], device);
            let (angles, offset) = (matrix(&rotation, [capacity, head_dim], device), word(start, device));
            let (mixed, next) = cached_attention(rows, angles, offset, cache);
            let name = format!("{heads} heads, {shape:?}, {tokens} from {start} on");
            assert_close(&name, &floats(mixed).await, &expected, TOLERANCE);
            assert_close(&name, &floats(next.keys.clone()).await, &keys, TOLERANCE);
            assert_close(&name, &floats(next.values.clone()).await, &values, 0.0);
            cache = next;
            start += tokens;
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn causal_attention_survives_scores_far_apart_and_shows_what_is_no_number() {
    for device in [gpu().await.device, cpu().await.device] {
        let cached = |x: &[f32]| vector(x, &device).reshape([1, 3, 4]);
        let unturned = [1.0, 1.0, 0.0, 0.0].repeat(3);
        let attend = async |q: [f32; 4]| {
            // Two positions are there; the third looks at them and at itself.
            let keys = cached(&[90.0, 0.0, 0.0, 0.0, -90.0, 0.0, 0.0, 0.0, 7.0, 7.0, 7.0, 7.0]);
            let values = cached(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 0.0, 0.0, 0.0, 0.0]);
            let rows = matrix(&[q, [0.0; 4], [9.0; 4]].concat(), [1, 12], &device);
            let (angles, offset) = (matrix(&unturned, [3, 4], &device), word(2, &device));
            floats(cached_attention(rows, angles, offset, Cache { keys, values }).0).await
        };
        assert_close("far apart", &attend([100.0, 0.0, 0.0, 0.0]).await, &[1.0, 2.0, 3.0, 4.0], 1e-6);
        assert_close("the other way", &attend([-100.0, 0.0, 0.0, 0.0]).await, &[5.0, 6.0, 7.0, 8.0], 1e-6);
        assert!(attend([f32::NAN, 0.0, 0.0, 0.0]).await.iter().all(|y| y.is_nan()));
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn results_do_not_depend_on_what_memory_held_before() {
    let device = gpu().await.device;
    let (n, c, k) = (45, 6, 4);
    let features = noise(n * c, 8);
    let reference = knn_density_reference(&features, c, k);
    for round in 0..4 {
        for size in [n, 2 * n, n * c, 18] {
            let dirt = vector(&vec![-12345.0 - round as f32; size], &device) * 2.0;
            assert_eq!(floats(dirt).await[0], -24690.0 - 2.0 * round as f32); // really written, then given back
        }
        let density = knn_density(&features, [n, c], k).await;
        assert_close("density", &density, &reference, TOLERANCE);
        let peaks = peak_distance(&features, [n, c], &density).await;
        assert_close("peaks", &peaks, &peak_distance_reference(&features, c, &density), TOLERANCE);
        let rule = CenterRule { threshold: 0.2, fallback: 1, k_max: 16 };
        let (_, raw) = select_centers(&density, &peaks, rule).await;
        assert_eq!(raw, select_centers_reference(&density, &peaks, rule).1);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn the_self_test_runs_every_kernel_and_finds_none_wrong_here() {
    let test = selftest::run(&gpu().await.device).await.expect("the device answers");
    let mut names: Vec<&str> = SHADERS.iter().map(|kernel| kernel.name).collect();
    let mut tested = test.kernels.clone();
    names.sort_unstable();
    tested.sort_unstable();
    assert_eq!(tested, names, "a kernel without a known answer");
    assert_eq!(test.failed, Vec::<&str>::new());
    let report = gpu().await.report;
    assert_eq!(report.self_test.expect("opening the device runs it").failed, Vec::<&str>::new());
}

/// Natively only: four million patches take a software adapter in a page too long.
#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn more_workgroups_than_one_dimension_of_a_dispatch_holds() {
    let n = 64 * 65_535 + 130;
    let features: Vec<f32> = (0..n).map(|i| (i % 2) as f32).collect();
    let labels = assign_clusters(&features, [n, 1], &selection(&[0, 1], n, 2)).await;
    let wrong = labels.iter().enumerate().find(|&(i, &label)| label != (i % 2) as i32);
    assert_eq!(wrong, None);
}
