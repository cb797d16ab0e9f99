//! Adapters beside a packed language model against the weights that they can be merged into.
#![allow(clippy::unwrap_used, reason = "a test may end with the error that it meets")]

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::common::{assert_close, cpu, floats, gpu, noise};
use burn::tensor::Device;
use safetensors::tensor::{Dtype, TensorView, serialize};
use setokim::formats::gguf::Gguf;
use setokim::kernels::quant_matmul::Activations;
use setokim::model::llm::{
    AdapterConfig, GgufSource, KvCache, Llama, LlamaConfig, Projection, TokenMask, weight_names,
};
use setokim::nn::tensor_store::TensorStore;
use wasm_bindgen_test::wasm_bindgen_test;

const TINY: &[u8] = include_bytes!("../fixtures/tiny.gguf");
const RANK: usize = 8;
const SCALE: f32 = 0.5;
/// Logits are below 10; a sum of a few hundred products of f32, in another order.
const LOGIT_TOLERANCE: f32 = 2e-4;

/// Every matrix of a layer, by the names of adapters and of Hugging Face.
const MATRICES: [(Projection, &str, &str); 7] = [
    (Projection::Q, "q", "self_attn.q_proj"),
    (Projection::K, "k", "self_attn.k_proj"),
    (Projection::V, "v", "self_attn.v_proj"),
    (Projection::O, "o", "self_attn.o_proj"),
    (Projection::Gate, "gate", "mlp.gate_proj"),
    (Projection::Up, "up", "mlp.up_proj"),
    (Projection::Down, "down", "mlp.down_proj"),
];

type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn store_of(weights: &Weights, device: &Device) -> TensorStore {
    let bytes: Vec<Vec<u8>> =
        weights.values().map(|(_, values)| bytemuck::cast_slice::<f32, u8>(values).to_vec()).collect();
    let views = weights
        .iter()
        .zip(&bytes)
        .map(|((name, (shape, _)), bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let mut store = TensorStore::new(device);
    store.add_shard("weights", serialize(views, None).unwrap()).unwrap();
    store
}

/// The tiny model's weights as plain numbers.
fn plain_weights(gguf: &Gguf<'_>, config: &LlamaConfig) -> Weights {
    let device = Device::flex();
    let source = GgufSource::new(gguf, config, Activations::Exact, &device);
    let weight = |name: String| {
        let raw = source.tensor(&name).unwrap();
        (name, (raw.shape.clone(), raw.to_f32()))
    };
    weight_names(config).into_iter().map(weight).collect()
}

/// Random adapters of some matrices, and what the weights become with them.
fn adapters_and_merged(weights: &Weights, config: &LlamaConfig, parts: &[Projection]) -> (Weights, Weights) {
    let (mut adapters, mut merged) = (Weights::new(), weights.clone());
    for layer in 0..config.num_hidden_layers {
        for (seed, (part, ours, theirs)) in MATRICES.iter().enumerate().filter(|(_, (part, ..))| parts.contains(part)) {
            let (shape, weight) = merged.get_mut(&format!("model.layers.{layer}.{theirs}.weight")).unwrap();
            let &[rows, columns] = shape.as_slice() else { panic!("{part:?} is a matrix") };
            let seed = (100 * layer + seed) as u64;
            let a: Vec<f32> = noise(RANK * columns, seed).iter().map(|x| x / (columns as f32).sqrt()).collect();
            let b = noise(rows * RANK, seed + 50);
            for (row, weight) in weight.chunks_exact_mut(columns).enumerate() {
                for (column, weight) in weight.iter_mut().enumerate() {
                    let products = (0..RANK).map(|i| f64::from(b[row * RANK + i]) * f64::from(a[i * columns + column]));
                    *weight += (f64::from(SCALE) * products.sum::<f64>()) as f32;
                }
            }
            adapters.insert(format!("adapters.{layer}.{ours}.a"), (vec![RANK, columns], a));
            adapters.insert(format!("adapters.{layer}.{ours}.b"), (vec![rows, RANK], b));
        }
    }
    (adapters, merged)
}

async fn all_logits(model: &Llama, cache: &mut KvCache, ids: &[u32]) -> Vec<f32> {
    let hidden = model.forward(model.embed(ids).unwrap(), cache).unwrap();
    floats(model.logits(hidden, None)).await
}

/// The best tokens after `ids`: on a GPU by a recorded step.
async fn greedy(model: &Llama, cache: &mut KvCache, ids: &[u32], count: usize) -> Vec<u32> {
    let vocabulary = model.config().vocab_size;
    let mask = Arc::new(TokenMask::new(vocabulary, model.device(), |_| true, |_| true));
    let hidden = model.forward(model.embed(ids).unwrap(), cache).unwrap();
    let first = model.choose(hidden.narrow(0, ids.len() - 1, 1), &mask, None);
    let mut made = vec![first.read(vocabulary).await.unwrap()[0].next];
    while made.len() < count {
        let chosen = model.choose_ahead(*made.last().unwrap(), count - made.len(), &mask, None, cache).unwrap();
        made.extend(chosen.read(vocabulary).await.unwrap().iter().map(|choice| choice.next));
    }
    made
}

async fn adapters_equal_merged_weights(device: &Device, parts: &[Projection]) {
    let gguf = Gguf::parse(TINY).unwrap();
    let config = LlamaConfig::from_gguf(&gguf).unwrap();
    let (adapters, merged) = adapters_and_merged(&plain_weights(&gguf, &config), &config, parts);
    let merged = Llama::load(config.clone(), &mut store_of(&merged, device), "", device).unwrap();
    let plain = Llama::from_gguf(&gguf, Activations::Exact, device).unwrap();
    let mut adapted = Llama::from_gguf(&gguf, Activations::Exact, device).unwrap();
    let mut store = store_of(&adapters, device);
    let settings = AdapterConfig { rank: RANK, scale: SCALE, parts: parts.to_vec() };
    adapted.load_adapters(&settings, &mut store).unwrap();
    assert_eq!(store.leftover().count(), 0);

    // Several tokens at once, then one by one, and the tokens that a device chooses alone.
    let ids: Vec<u32> = (0..20).map(|i| (i * 37 + 5) % 350).collect();
    let expected = all_logits(&merged, &mut merged.new_cache(64).unwrap(), &ids).await;
    let mut cache = adapted.new_cache(64).unwrap().adapted(true);
    let mut logits = all_logits(&adapted, &mut cache, &ids[..17]).await;
    for id in &ids[17..] {
        logits.extend(all_logits(&adapted, &mut cache, &[*id]).await);
    }
    assert_close("adapted logits", &logits, &expected, LOGIT_TOLERANCE);
    let expected = greedy(&merged, &mut merged.new_cache(64).unwrap(), &ids, 12).await;
    let mut cache = adapted.new_cache(64).unwrap().adapted(true);
    assert_eq!(greedy(&adapted, &mut cache, &ids, 12).await, expected);
    assert_eq!(cache.is_recorded(), *device != Device::flex());

    // Off, nothing is left of them, not a bit.
    let expected = all_logits(&plain, &mut plain.new_cache(64).unwrap(), &ids).await;
    let logits = all_logits(&adapted, &mut adapted.new_cache(64).unwrap(), &ids).await;
    assert_eq!(logits, expected);
    let expected = greedy(&plain, &mut plain.new_cache(64).unwrap(), &ids, 12).await;
    assert_eq!(greedy(&adapted, &mut adapted.new_cache(64).unwrap(), &ids, 12).await, expected);
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn adapters_equal_the_weights_they_are_merged_into_on_the_cpu() {
    let device = cpu().await.device;
    adapters_equal_merged_weights(&device, &MATRICES.map(|(part, ..)| part)).await;
    adapters_equal_merged_weights(&device, &[Projection::Q, Projection::V, Projection::O, Projection::Down]).await;
    adapters_equal_merged_weights(&device, &[Projection::Up]).await;
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn adapters_equal_the_weights_they_are_merged_into_on_the_gpu() {
    let device = gpu().await.device;
    adapters_equal_merged_weights(&device, &MATRICES.map(|(part, ..)| part)).await;
    adapters_equal_merged_weights(&device, &[Projection::Q, Projection::V, Projection::O, Projection::Down]).await;
}

#[wasm_bindgen_test(unsupported = test)]
fn adapters_that_do_not_fit_are_refused_by_name() {
    let (gguf, device) = (Gguf::parse(TINY).unwrap(), Device::flex());
    let config = LlamaConfig::from_gguf(&gguf).unwrap();
    let (adapters, _) = adapters_and_merged(&plain_weights(&gguf, &config), &config, &[Projection::O]);
    let load = |adapters: &Weights, settings: AdapterConfig| {
        let mut model = Llama::from_gguf(&gguf, Activations::Exact, &device).unwrap();
        model.load_adapters(&settings, &mut store_of(adapters, &device)).unwrap_err()
    };
    let settings = |rank, scale, parts: &[Projection]| AdapterConfig { rank, scale, parts: parts.to_vec() };
    assert_eq!(load(&adapters, settings(RANK, 1.0, &[])).code(), "config-invalid");
    assert_eq!(load(&adapters, settings(RANK, 1.0, &[Projection::O, Projection::O])).code(), "config-invalid");
    assert_eq!(load(&adapters, settings(6, 1.0, &[Projection::O])).code(), "config-invalid");
    assert_eq!(load(&adapters, settings(RANK, f32::NAN, &[Projection::O])).code(), "config-invalid");
    let missing = load(&adapters, settings(RANK, 1.0, &[Projection::O, Projection::Q]));
    assert!(missing.to_string().contains("adapters.0.q.a"), "{missing}");
    // Those of another base model.
    let other = load(&adapters, settings(RANK / 2, 1.0, &[Projection::O]));
    assert_eq!(other.code(), "tensor-shape");
}
