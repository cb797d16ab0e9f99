//! Packed tensors of safetensors files: what comes out of them, and what is refused.

use std::collections::HashMap;

use burn::tensor::Device;
use proptest::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use setokim::formats::blocks::{WeightKind, dequantize};
use setokim::model::llm::WeightSource;
use setokim::nn::linear::Linear;
use setokim::nn::tensor_store::{TensorStore, part_name};
use setokim::{Error, Result};

use crate::common::{cpu, floats, gpu};

/// Blocks whose scales are small powers of two, so that every weight and every short sum of them is exact in f32.
fn blocks(kind: WeightKind, weights: usize) -> Vec<u8> {
    let block = |at: usize| {
        let mut bytes: Vec<u8> = (0..kind.block_bytes()).map(|i| (at * 31 + i * 7) as u8).collect();
        let scale = half::f16::from_f32(if at.is_multiple_of(2) { 0.5 } else { -0.25 }).to_le_bytes();
        bytes[..2].copy_from_slice(&scale);
        if kind == WeightKind::Q4_1 {
            bytes[2..4].copy_from_slice(&half::f16::from_f32(-2.0).to_le_bytes());
        }
        bytes
    };
    (0..weights / kind.block_len()).flat_map(block).collect()
}

/// A file of U8 tensors `(name, shape, bytes)` with its metadata.
fn file(tensors: &[(&str, [usize; 2], &[u8])], metadata: &[(&str, &str)]) -> Vec<u8> {
    let view = |shape: &[usize; 2], bytes| TensorView::new(Dtype::U8, shape.to_vec(), bytes).expect("a sound tensor");
    let views = tensors.iter().map(|(name, shape, bytes)| (*name, view(shape, bytes)));
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    safetensors::serialize(views, Some(metadata)).expect("sound tensors")
}

fn store_of(bytes: Vec<u8>, device: &Device) -> Result<TensorStore> {
    let mut store = TensorStore::new(device);
    store.add_shard("x.safetensors", bytes)?;
    Ok(store)
}

fn refusal(bytes: Vec<u8>) -> String {
    match store_of(bytes, &Device::flex()) {
        Err(Error::Shard { reason, .. }) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken"),
    }
}

async fn every_kind_means_what_ggml_means(device: &Device) {
    for (kind, name) in [(WeightKind::Q8_0, "q8_0"), (WeightKind::Q4_0, "q4_0"), (WeightKind::Q4_1, "Q4_1")] {
        let bytes = blocks(kind, 6 * 64);
        let whole = file(&[("w", [6, bytes.len() / 6], &bytes)], &[("w", &format!("{name} 6 64")), ("format", "pt")]);
        let want = dequantize(kind, &bytes);

        let dense = store_of(whole.clone(), device).expect("sound").take("w", [6, 64]).expect("a matrix");
        assert_eq!(floats(dense).await, want, "{name}");
        let packed = store_of(whole, device).expect("sound").linear("w", 6, 64).expect("a matrix");
        assert_eq!(floats(packed.rows(&[5, 0, 5])).await, [&want[320..], &want[..64], &want[320..]].concat(), "{name}");
    }
    // A convolution is a matrix with a row for each output.
    let bytes = blocks(WeightKind::Q8_0, 2 * 32 * 9);
    let convolution = file(&[("w", [2, bytes.len() / 2], &bytes)], &[("w", "q8_0 2 32 3 3")]);
    let taken = store_of(convolution, device).expect("sound").take("w", [2, 32, 3, 3]).expect("a convolution");
    assert_eq!(floats(taken).await, dequantize(WeightKind::Q8_0, &bytes));
}

#[tokio::test]
async fn every_kind_means_what_ggml_means_on_the_cpu() {
    every_kind_means_what_ggml_means(&cpu().await.device).await;
}

#[tokio::test]
async fn every_kind_means_what_ggml_means_on_the_gpu() {
    every_kind_means_what_ggml_means(&gpu().await.device).await;
}

#[tokio::test]
async fn a_tensor_in_parts_is_one_tensor() {
    let (device, bytes) = (cpu().await.device, blocks(WeightKind::Q8_0, 5 * 32));
    let names = [part_name("w", 0), part_name("w", 1)];
    let floats_of = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let tail: Vec<f32> = (0..64).map(|i| i as f32).collect();
    let parts = |order: [usize; 2]| {
        let first = file(&[(&names[0], [5, 34], &bytes)], &[(&names[0], "q8_0 5 32")]);
        let data = floats_of(&tail);
        let view = TensorView::new(Dtype::F32, vec![2, 32], &data).expect("a sound tensor");
        let files = [first, safetensors::serialize([(&names[1], view)], None).expect("sound")];
        let mut store = TensorStore::new(&device);
        order.into_iter().for_each(|i| store.add_shard("part", files[i].clone()).expect("sound"));
        store
    };
    let want = [dequantize(WeightKind::Q8_0, &bytes), tail.clone()].concat();
    let mut store = parts([1, 0]);
    assert!(store.contains("w"));
    assert_eq!(store.shape("w"), Some(vec![7, 32]));
    assert!(matches!(store.take("w", [8, 32]), Err(Error::TensorShape { .. })));
    assert_eq!(floats(store.take("w", [7, 32]).expect("whole")).await, want);
    assert_eq!(store.leftover().count(), 0);
    let linear: Linear = parts([0, 1]).linear("w", 7, 32).expect("whole");
    assert_eq!(floats(linear.rows(&[4, 5, 6])).await, want[4 * 32..]);
}

#[test]
fn a_declaration_that_is_not_true_is_refused() {
    let bytes = blocks(WeightKind::Q8_0, 4 * 64);
    for (shape, declared) in [
        ([4, 68], "q8_0 4 32"),
        ([4, 68], "q8_0 64 4"),
        ([4, 68], "q8_0 3 64"),
        ([68, 4], "q8_0 4 64"),
        ([4, 68], "q4_0 4 64"),
        ([4, 68], "q8_0 4 48"),
        ([4, 68], "q8_0"),
        ([4, 68], "q8_0 "),
        ([4, 68], "q8_0 4 64 0"),
        ([4, 68], "q8_0 4  64"),
        ([4, 68], "q8_0 4 -64"),
        ([4, 68], "q8_0 18446744073709551615 64"),
        ([4, 68], "q8_0 4 18446744073709551616"),
        ([4, 68], "f32 4 64"),
    ] {
        let reason = refusal(file(&[("w", shape, &bytes)], &[("w", declared)]));
        assert!(reason.contains("`w`") && reason.contains(declared), "{declared}: {reason}");
    }
}

#[test]
fn bytes_that_nothing_is_said_of_are_an_error_for_who_asks() {
    let bytes = blocks(WeightKind::Q8_0, 32);
    let device = Device::flex();
    for (metadata, want) in [(vec![], "U8"), (vec![("w", "q5_k 1 32")], "q5_k 1 32")] {
        let mut store = store_of(file(&[("w", [1, 34], &bytes)], &metadata), &device).expect("another may not need it");
        match store.take("w", [1, 32]) {
            Err(Error::TensorType { dtype, .. }) => assert_eq!(dtype, want),
            other => panic!("{other:?}"),
        }
        assert!(matches!(store.linear("w", 1, 32), Err(Error::TensorType { .. })));
        assert!(matches!(store.linear("v", 1, 32), Err(Error::TensorMissing(_))));
    }
}

#[test]
fn every_truncated_file_is_refused() {
    let bytes = blocks(WeightKind::Q4_0, 64);
    let whole = file(&[("w", [2, 18], &bytes)], &[("w", "q4_0 2 32")]);
    for length in 0..whole.len() {
        refusal(whole[..length].to_vec());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_declaration_is_taken_or_refused(
        declared in prop_oneof!["(q8_0|q4_0|q4_1|f16|bf16|f32|x)?( [0-9]{0,3}){0,3}", Just("q8_0 1 32".to_owned())],
        shape in prop_oneof![(0_usize..5, 0_usize..70), Just((1, 34))],
    ) {
        let bytes = vec![1; shape.0 * shape.1];
        let whole = file(&[("w", [shape.0, shape.1], &bytes)], &[("w", &declared)]);
        let taken = store_of(whole, &Device::flex()).and_then(|mut store| store.take::<2>("w", [1, 32]));
        let is_whole = (declared.as_str(), shape) == ("q8_0 1 32", (1, 34));
        prop_assert!(taken.is_ok() || !is_whole, "{:?}", taken.err());
        prop_assert!(taken.is_err() || declared.ends_with(" 1 32"), "{declared} was taken for 1 x 32");
    }

    #[test]
    fn any_bytes_are_numbers(bytes in proptest::collection::vec(any::<u8>(), 36)) {
        let whole = file(&[("w", [2, 18], &bytes)], &[("w", "q4_0 2 32")]);
        let taken = store_of(whole, &Device::flex()).and_then(|mut store| store.take("w", [2, 32])).expect("sound");
        let numbers: Vec<f32> = taken.into_data().try_into_vec().expect("f32");
        let want = dequantize(WeightKind::Q4_0, &bytes);
        prop_assert!(numbers.iter().zip(&want).all(|(a, b)| a == b || (a.is_nan() && b.is_nan())));
    }
}
