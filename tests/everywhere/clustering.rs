//! The clustering as a whole: golden partitions from PyTorch, and what must hold for any features.

use crate::common::{assert_close, blobs, cpu, gpu, matrix, noise};
use setokim::model::config::ClusterConfig;
use setokim::model::setok::{Clusters, cluster};
use setokim::runtime::device::OpenDevice;
use setokim::{Error, Result};
use wasm_bindgen_test::wasm_bindgen_test;

/// Golden values are float64 rounded once; ours are f32 on the GPU.
const TOLERANCE: f32 = 2e-5;

async fn devices() -> [OpenDevice; 2] {
    [cpu().await, gpu().await]
}

async fn cluster_on(
    open: &OpenDevice,
    features: &[f32],
    shape: [usize; 2],
    config: &ClusterConfig,
) -> Result<Clusters> {
    cluster(matrix(features, shape, &open.device), config).await
}

fn settings(neighbors: usize, threshold: f32, max_clusters: usize) -> ClusterConfig {
    ClusterConfig { neighbors, threshold, max_clusters, ..ClusterConfig::default() }
}

/// A fixture of `training/fixtures/tokenizer.py`.
struct Golden {
    bytes: &'static [u8],
}

impl Golden {
    fn floats(&self, name: &str) -> Vec<f32> {
        let tensor = self.tensor(name);
        assert_eq!(tensor.dtype(), safetensors::Dtype::F32);
        tensor.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
    }

    fn integers(&self, name: &str) -> Vec<usize> {
        let tensor = self.tensor(name);
        assert_eq!(tensor.dtype(), safetensors::Dtype::I32);
        tensor.data().as_chunks::<4>().0.iter().map(|&b| i32::from_le_bytes(b) as usize).collect()
    }

    fn tensor(&self, name: &str) -> safetensors::tensor::TensorView<'static> {
        safetensors::SafeTensors::deserialize(self.bytes).expect("a fixture").tensor(name).expect("in the fixture")
    }
}

macro_rules! golden {
    ($($name:literal),*) => {
        [$(($name, Golden { bytes: include_bytes!(concat!("../fixtures/cluster_", $name, ".safetensors")) })),*]
    };
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn partitions_equal_pytorch() {
    let cases = golden!("hand", "blobs", "ragged", "capped", "nothing_above", "equal", "duplicates", "single");
    for (name, golden) in cases {
        let shape: [usize; 2] = golden.tensor("features").shape().try_into().expect("[N, C]");
        let k = golden.integers("neighbors")[0];
        let config = settings(k, golden.floats("threshold")[0], golden.integers("max_clusters")[0]);
        for open in devices().await {
            let ours = cluster_on(&open, &golden.floats("features"), shape, &config).await.expect(name);
            let name = format!("{name} on {:?}", open.report.device);
            assert_close(&format!("{name}: density"), &ours.density, &golden.floats("density"), TOLERANCE);
            assert_close(&format!("{name}: delta"), &ours.delta, &golden.floats("delta"), TOLERANCE);
            assert_close(&format!("{name}: score"), &ours.score, &golden.floats("score"), TOLERANCE);
            assert_eq!(ours.centers, golden.integers("centers"), "{name}: centers");
            assert_eq!(ours.labels, golden.integers("labels"), "{name}: labels");
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn the_same_input_gives_the_same_bits() {
    let features = noise(150 * 24, 11);
    for open in devices().await {
        let first = cluster_on(&open, &features, [150, 24], &settings(4, 0.2, 16)).await.expect("first");
        for _ in 0..3 {
            let again = cluster_on(&open, &features, [150, 24], &settings(4, 0.2, 16)).await.expect("again");
            assert_eq!(first, again);
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn order_of_the_patches_does_not_matter() {
    let (n, c) = (60, 12);
    let features = blobs(n, c, 5, 12);
    let moved: Vec<usize> = (0..n).map(|i| (i * 7 + 3) % n).collect(); // 7 and 60 have no common factor
    let mut shuffled = vec![0.0; n * c];
    for (to, &from) in moved.iter().enumerate() {
        shuffled[to * c..][..c].copy_from_slice(&features[from * c..][..c]);
    }
    for open in devices().await {
        let ours = cluster_on(&open, &features, [n, c], &settings(4, 0.4, 16)).await.expect("in order");
        let other = cluster_on(&open, &shuffled, [n, c], &settings(4, 0.4, 16)).await.expect("shuffled");
        assert_eq!(ours.centers.len(), 5, "the blobs are found");
        for a in 0..n {
            for b in 0..n {
                let together = ours.labels[moved[a]] == ours.labels[moved[b]];
                assert_eq!(other.labels[a] == other.labels[b], together, "patches {a} and {b}");
            }
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn every_patch_has_a_label_and_every_centre_its_own() {
    for seed in 0..6 {
        let n = 20 + 17 * seed;
        let features = noise(n * 8, seed as u64);
        for open in devices().await {
            let ours = cluster_on(&open, &features, [n, 8], &settings(3, 0.3, 10)).await.expect("clusters");
            assert!((1..=10).contains(&ours.centers.len()));
            assert!(ours.centers.is_sorted());
            assert!(ours.labels.iter().all(|&label| label < ours.centers.len()));
            for (label, &center) in ours.centers.iter().enumerate() {
                assert_eq!(ours.labels[center], label);
            }
            assert_eq!(ours.sizes().iter().sum::<usize>(), n);
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_flat_picture_is_one_token_or_as_many_as_the_reference_takes() {
    let features = vec![0.25; 49 * 6];
    for open in devices().await {
        let ours = cluster_on(&open, &features, [49, 6], &settings(4, 0.5, 16)).await.expect("flat");
        assert_eq!((ours.centers, ours.labels), (vec![0], vec![0; 49]));
        let reference = ClusterConfig { fallback_clusters: 3, ..settings(4, 0.5, 16) };
        let ours = cluster_on(&open, &features, [49, 6], &reference).await.expect("flat, reference rule");
        assert_eq!(ours.centers, [0, 1, 2]);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn not_a_number_is_an_error_that_names_the_row() {
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut features = noise(40 * 6, 13);
        features[31 * 6 + 2] = poison;
        for open in devices().await {
            let result = cluster_on(&open, &features, [40, 6], &settings(4, 0.5, 16)).await;
            assert!(matches!(result, Err(Error::NotFinite { what: "features", row: 31 })), "{poison}: {result:?}");
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn settings_that_do_not_fit_are_errors_and_leave_the_device_usable() {
    let features = noise(10 * 4, 14);
    let bad = [
        settings(0, 0.5, 16),
        settings(11, 0.5, 16),
        settings(4, f32::NAN, 16),
        settings(4, 0.5, 0),
        settings(4, 0.5, 1_000_000),
        ClusterConfig { fallback_clusters: 0, ..ClusterConfig::default() },
    ];
    for open in devices().await {
        for config in &bad {
            let result = cluster_on(&open, &features, [10, 4], config).await;
            assert!(matches!(result, Err(Error::Clustering(_))), "{config:?}: {result:?}");
        }
        let many = cluster_on(&open, &noise(40 * 4, 15), [40, 4], &settings(33, 0.5, 16)).await;
        assert!(matches!(many, Err(Error::Clustering(_))), "k is at most 32");
        assert!(cluster_on(&open, &features, [10, 4], &settings(10, 0.5, 16)).await.is_ok(), "k = N is fine");
    }
}

/// Natively only: a software adapter in a page takes minutes for it.
#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn cpu_and_gpu_agree_on_a_picture_sized_problem() {
    let (n, c) = (729, 96);
    let features = blobs(n, c, 14, 16);
    let [on_cpu, on_gpu] = devices().await;
    let config = settings(5, 0.4, 64);
    let ours = cluster_on(&on_cpu, &features, [n, c], &config).await.expect("cpu");
    let theirs = cluster_on(&on_gpu, &features, [n, c], &config).await.expect("gpu");
    assert_eq!(ours.labels, theirs.labels);
    assert_close("score", &ours.score, &theirs.score, TOLERANCE);
}

/// The features alone are 72 MiB; a distance matrix would be 1 GiB, eight times the smallest binding limit of WebGPU.
#[cfg(not(target_family = "wasm"))]
#[tokio::test]
#[ignore = "minutes on a software adapter"]
async fn sixteen_thousand_patches_of_siglip_width_fit() {
    let (n, c) = (16_384, 1_152);
    let open = gpu().await;
    let ours = cluster_on(&open, &blobs(n, c, 20, 17), [n, c], &settings(5, 0.4, 64)).await.expect("clusters");
    assert_eq!(ours.centers.len(), 20);
    let first = ours.labels[0];
    assert!((0..n).all(|i| (ours.labels[i] == first) == (i % 20 == 0)), "the blobs are found again");
}
