//! Devices and comparisons shared by the tests. Bodies run natively under tokio and in a browser under
//! wasm-bindgen-test.
#![allow(dead_code, reason = "every test binary uses its own part of this file")]

pub mod tiny_setokim;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use setokim::runtime::device::{self, DeviceChoice, OpenDevice};

/// The GPU device, software adapters included. A machine without any fails the test: a run that found no adapter has
/// shown nothing.
pub async fn gpu() -> OpenDevice {
    match device::open(DeviceChoice::Gpu).await {
        Ok(open) => open,
        Err(e) => panic!("these tests need a GPU adapter (Mesa's llvmpipe or Chromium's SwiftShader will do): {e}"),
    }
}

pub async fn cpu() -> OpenDevice {
    device::open(DeviceChoice::Cpu).await.expect("the CPU is always there")
}

pub fn matrix(values: &[f32], [n, c]: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [n, c]), (device, DType::F32))
}

pub fn vector(values: &[f32], device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), (device, DType::F32))
}

pub fn ints(values: &[i32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), (device, DType::I32))
}

pub async fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data_async().await.expect("readable").try_into_vec().expect("f32")
}

pub async fn integers<const D: usize>(tensor: Tensor<D, Int>) -> Vec<i32> {
    tensor.into_data_async().await.expect("readable").try_into_vec().expect("i32")
}

/// Fails with the first values side by side and the place of the worst.
pub fn assert_close(name: &str, ours: &[f32], theirs: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), theirs.len(), "{name}: lengths");
    let difference = |i: usize| (ours[i] - theirs[i]).abs();
    let Some(worst) = (0..ours.len()).max_by(|&a, &b| difference(a).total_cmp(&difference(b))) else { return };
    let head = ours.len().min(5);
    let is_close = difference(worst) <= tolerance; // false for NaN
    assert!(
        is_close,
        "{name}: ours {:?}, theirs {:?}; worst at {worst}: {} against {}, off by {} > {tolerance}",
        &ours[..head],
        &theirs[..head],
        ours[worst],
        theirs[worst],
        difference(worst),
    );
}

/// Deterministic values in [-1, 1] (splitmix64), the same on every platform.
pub fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..count).map(|_| (next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

/// `n` points of width `c` around `blobs` centres that lie far apart: no near-ties between clusters.
pub fn blobs(n: usize, c: usize, blobs: usize, seed: u64) -> Vec<f32> {
    let centers = noise(blobs * c, seed);
    let mut points = noise(n * c, seed + 1);
    for (i, x) in points.iter_mut().enumerate() {
        let (row, channel) = (i / c, i % c);
        *x = centers[row % blobs * c + channel] * 3.0 + *x * 0.1;
    }
    points
}
