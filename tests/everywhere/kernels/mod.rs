//! Every WGSL kernel against the plain reference of the same name, on whatever GPU adapter there is; and the CPU's vector
//! code where it is ours.

mod clustering;
mod decoder;
mod dense;
mod depthwise_conv2d;
mod layers;
mod sampling;

use crate::common::{assert_close, blobs, cpu, floats, gpu, integers, ints, matrix, noise, vector};
use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use setokim::kernels::composite_layers::composite_layers;
use setokim::kernels::decoder::{Cache, Next, cached_attention, rms_norm, swiglu, top2};
use setokim::kernels::dense::{attention, conv2d, gelu_of_kind, layer_norm, linear, matmul, softmax};
use setokim::kernels::epilogue::{Activation, Epilogue, Norm};
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

/// `[count, no bad row, centres.., padding]` as `select_centers` writes it.
fn selection(centers: &[i32], n: usize, k_max: usize) -> Vec<i32> {
    let mut raw = vec![centers.len() as i32, n as i32];
    raw.extend(centers);
    raw.resize(2 + k_max, n as i32);
    raw
}

fn word(word: usize, device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(vec![word as u32], [1]), (device, DType::U32))
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
