//! The language half of a photo model: adapters beside a packed language model against the weights that they can be merged
//! into, and the whole against PyTorch. The fixture comes from `training/photo/language_fixture.py`.
#![allow(clippy::unwrap_used, reason = "a test may end with the error that it meets")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::Device;
use common::{assert_close, cpu, floats, gpu, noise};
use safetensors::tensor::{Dtype, TensorView, serialize};
use setokim::formats::gguf::Gguf;
use setokim::kernels::quant_matmul::Activations;
use setokim::model::llm::{
    AdapterConfig, GgufSource, KvCache, Llama, LlamaConfig, Projection, TokenMask, weight_names,
};
use setokim::nn::tensor_store::TensorStore;
use wasm_bindgen_test::wasm_bindgen_test;

const TINY: &[u8] = include_bytes!("fixtures/tiny.gguf");
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

/// The whole model, converted from its parts and loaded from its folder.
#[cfg(not(target_family = "wasm"))]
mod whole {
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    use burn::tensor::{DType, Tensor, TensorData};
    use safetensors::SafeTensors;
    use serde_json::Value;
    use setokim::convert::{Precision, Precisions, SHARD_BYTES, SourceOptions, open_source, write_bundle};
    use setokim::model::config::MaskHeadConfig;
    use setokim::model::encoded_image::EncodedImage;
    use setokim::model::feature_maps::{FeatureMaps, FinerMaps};
    use setokim::model::language::Position;
    use setokim::model::mask_head::{MaskHead, MaskLogits};
    use setokim::model::setokim::Setokim;
    use setokim::runtime::device::OpenDevice;
    use setokim::{AnswerOptions, Crop, Event, Image, Message, Part, Role, Tokenizer};

    use super::*;

    const PHOTO: &[u8] = include_bytes!("fixtures/photo_tiny.safetensors");
    const LANGUAGE: &[u8] = include_bytes!("fixtures/photo_language.safetensors");
    const CONFIGS: [&str; 2] = [include_str!("fixtures/photo_tiny.json"), include_str!("fixtures/photo_language.json")];
    const GGUF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny.gguf");
    /// Activations are rounded to 16 bits before they meet packed weights; numbers are below 10.
    const TOLERANCE: f32 = 2e-3;
    const SIDE: u32 = 64;
    static NEVER: AtomicBool = AtomicBool::new(false);

    async fn ignore(_: Event) {}

    fn golden(file: &[u8], name: &str) -> Vec<f32> {
        bytemuck::pod_collect_to_vec(SafeTensors::deserialize(file).unwrap().tensor(name).unwrap().data())
    }

    fn golden_ids(name: &str) -> Vec<i32> {
        bytemuck::pod_collect_to_vec(SafeTensors::deserialize(LANGUAGE).unwrap().tensor(name).unwrap().data())
    }

    /// Both configs as one, without the phrase encoder, whose words are of another width.
    fn config() -> Value {
        let [mut config, more] = CONFIGS.map(|text| serde_json::from_str::<Value>(text).unwrap());
        config.as_object_mut().unwrap().remove("phrase");
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    }

    fn write_tensors(path: &Path, keep: impl Fn(&str) -> bool) {
        let files = [PHOTO, LANGUAGE].map(|file| SafeTensors::deserialize(file).unwrap());
        let tensors: Vec<_> = files.iter().flat_map(SafeTensors::tensors).filter(|(name, _)| keep(name)).collect();
        std::fs::write(path, serialize(tensors, None).unwrap()).unwrap();
    }

    /// The parts as they come: trained ones, an encoder, a GGUF file.
    fn write_parts(folder: &Path) -> SourceOptions {
        let is_trained = |name: &str| {
            ["neck.", "setok.", "projector.", "adapters.", "mask_head."].iter().any(|prefix| name.starts_with(prefix))
        };
        std::fs::write(folder.join("config.json"), config().to_string()).unwrap();
        write_tensors(&folder.join("model.safetensors"), is_trained);
        let encoder = folder.join("encoder/encoder.safetensors");
        std::fs::create_dir(encoder.parent().unwrap()).unwrap();
        write_tensors(&encoder, |name| name.starts_with("encoder."));
        SourceOptions { language: Some(GGUF.into()), encoder: Some(encoder), ..SourceOptions::default() }
    }

    fn open(device: OpenDevice) -> Setokim {
        let (parts, bundle) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let draft = open_source(parts.path(), write_parts(parts.path())).unwrap();
        assert_eq!(draft.notes, [""; 0]);
        write_bundle(&draft, &Precisions::all(Precision::Keep), SHARD_BYTES, bundle.path()).unwrap();
        Setokim::open(bundle.path(), device, |_| ()).unwrap()
    }

    async fn models() -> [Setokim; 2] {
        [open(cpu().await), open(gpu().await)]
    }

    fn tensor(values: Vec<f32>, shape: [usize; 2], model: &Setokim) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values, shape), (&model.device().device, DType::F32))
    }

    /// What PyTorch saw, in place of an image.
    fn seen(model: &Setokim) -> EncodedImage {
        let (mean, std) = (golden(LANGUAGE, "projector.mean"), golden(LANGUAGE, "projector.std"));
        let normal = |token: &[f32]| (0..token.len()).map(|i| (token[i] - mean[i]) / std[i]).collect::<Vec<f32>>();
        let tokens: Vec<_> = golden(PHOTO, "tokens").chunks_exact(mean.len()).map(normal).collect();
        let labels: Vec<i32> =
            bytemuck::pod_collect_to_vec(SafeTensors::deserialize(PHOTO).unwrap().tensor("labels").unwrap().data());
        let side = SIDE as usize;
        let patches = labels.len();
        let (features, stride8) = (golden(PHOTO, "normal"), golden(PHOTO, "stride8"));
        let (width, channels) = (features.len() / patches, stride8.len() / (4 * patches));
        EncodedImage {
            image: Image::from_rgb(vec![128; 3 * side * side], SIDE, SIDE).unwrap(),
            crop: Crop { x: 0.0, y: 0.0, width: SIDE.into(), height: SIDE.into() },
            grid: [patches.isqrt(); 2],
            labels: labels.into_iter().map(|label| label as u32).collect(),
            ids: (0..tokens.len()).collect(),
            tokens,
            maps: Some(FeatureMaps {
                features: tensor(features, [patches, width], model),
                finer: FinerMaps::Stride8(tensor(stride8, [channels, 4 * patches], model).transpose()),
            }),
            milliseconds: 0.0,
        }
    }

    fn question(text: &str) -> Message {
        Message { role: Role::User, parts: vec![Part::Image, Part::Text(text.into())] }
    }

    /// Ids of words, -1 for the tokens of the image.
    fn ids(turns: &[Vec<Position>]) -> Vec<i32> {
        let id = |position: &Position| if let Position::Word(id) = position { *id as i32 } else { -1 };
        turns.iter().flatten().map(id).collect()
    }

    fn text_of(model: &Setokim, name: &str) -> String {
        let ids: Vec<u32> = golden_ids(name).into_iter().map(|id| id as u32).collect();
        let gguf = Gguf::parse(TINY).unwrap();
        assert!(model.language().is_ok());
        Tokenizer::from_gguf(&gguf).unwrap().decode(&ids)
    }

    async fn hidden(model: &Setokim, turns: &[Vec<Position>], is_adapted: bool) -> Vec<f32> {
        let language = model.language().unwrap();
        let mut cache = language.llama().new_cache(64).unwrap().adapted(is_adapted);
        floats(language.forward(&turns.concat(), &mut cache).unwrap()).await
    }

    #[tokio::test]
    async fn a_question_about_a_photo_is_read_as_in_pytorch() {
        for model in models().await {
            let (language, photo) = (model.language().unwrap(), seen(&model));
            let describe = model.config().prompts.describe.clone().unwrap();
            let turns = language.turns(&[question(&describe)], &[&photo]).unwrap();
            assert_eq!(ids(&turns), golden_ids("prompt"));
            let values = hidden(&model, &turns, true).await;
            assert_close("hidden states", &values, &golden(LANGUAGE, "hidden"), TOLERANCE);

            let turns = language.turns(&[Message::text(Role::User, "Hello!")], &[]).unwrap();
            assert_eq!(ids(&turns), golden_ids("plain_prompt"));
            let values = hidden(&model, &turns, false).await;
            assert_close("plain hidden states", &values, &golden(LANGUAGE, "plain_hidden"), TOLERANCE);
        }
    }

    /// By turns, so that nothing of one is left for the other.
    #[tokio::test]
    async fn photos_are_described_in_pytorchs_words_and_plain_chat_is_the_language_models_own() {
        for model in models().await {
            let photo = seen(&model);
            let options = AnswerOptions { max_tokens: 12, ..AnswerOptions::default() };
            for _ in 0..2 {
                let answer = model.describe(&photo, &options, &NEVER, ignore).await.unwrap();
                assert_eq!(answer.text(), text_of(&model, "greedy"));
                let hello = [Message::text(Role::User, "Hello!")];
                let answer = model.chat(&hello, &[], &options, &NEVER, ignore).await.unwrap();
                assert_eq!(answer.text(), text_of(&model, "plain_greedy"));
            }
        }
    }

    #[tokio::test]
    async fn a_phrase_gets_pytorchs_mask() {
        for model in models().await {
            let photo = seen(&model);
            let logits = golden(LANGUAGE, "find_logits");
            let side = logits.len().isqrt();
            // The head by itself.
            let mut store = TensorStore::new(&model.device().device);
            store.add_shard("language", LANGUAGE.to_vec()).unwrap();
            let head =
                MaskHead::load(&mut store, &MaskHeadConfig { width: 64, refine: false }, 64, &model.config().vision);
            let state = tensor(golden(LANGUAGE, "find_state"), [1, 64], &model);
            let ours = head.unwrap().forward(state, photo.maps.as_ref().unwrap()).unwrap();
            assert_eq!(ours.dims(), [1, side, side]);
            assert_close("mask logits", &floats(ours).await, &logits, 1e-4);
            // And asked for.
            let options = AnswerOptions { required: true, ..AnswerOptions::default() };
            let found = model.segment(&photo, "A dog", &options, &NEVER, ignore).await.unwrap().mask.unwrap();
            let expected = MaskLogits::new(logits, side).unwrap();
            let near = |at: (usize, usize)| {
                let center = |i: usize| (i as f64 + 0.5) / f64::from(SIDE);
                expected.at(center(at.0), center(at.1)).abs() < TOLERANCE
            };
            let whole = expected.to_mask(&photo.crop, SIDE, SIDE).unwrap();
            let differ =
                |(at, (a, b)): (usize, (&bool, &bool))| a != b && !near((at % SIDE as usize, at / SIDE as usize));
            assert!(!found.mask.bits().iter().zip(whole.bits()).enumerate().any(differ));
            let [x, y] = found.point;
            assert!(whole.bits()[y as usize * SIDE as usize + x as usize]);
        }
    }

    /// An encoder that was trained with other parts, a base model of another size, no projector.
    #[test]
    fn parts_that_do_not_belong_together_are_refused_and_missing_ones_are_said() {
        let folder = tempfile::tempdir().unwrap();
        let options = write_parts(folder.path());
        let open = |config: &Value| {
            std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
            open_source(folder.path(), options.clone())
        };
        let mut other = config();
        other["vision"] = serde_json::json!({ "kind": "siglip" });
        other.as_object_mut().unwrap().remove("merger");
        assert!(open(&other).is_err());
        let mut wider = config();
        wider["adapters"]["rank"] = 8.into();
        let bundle = tempfile::tempdir().unwrap();
        write_bundle(&open(&wider).unwrap(), &Precisions::all(Precision::Keep), SHARD_BYTES, bundle.path()).unwrap();
        let device = pollster::block_on(cpu());
        let error = Setokim::open(bundle.path(), device, |_| ()).err().unwrap();
        assert_eq!(error.code(), "tensor-shape");
        write_tensors(&folder.path().join("model.safetensors"), |name| {
            name.starts_with("neck.") || name.starts_with("setok.")
        });
        let draft = open(&config()).unwrap();
        assert!(draft.notes[0].contains("projector"), "{:?}", draft.notes);
    }
}
