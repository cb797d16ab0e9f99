//! The whole photo model, converted from its parts and loaded from its folder, against PyTorch. The fixture comes from
//! `training/photo/language_fixture.py`.

#![allow(clippy::unwrap_used, reason = "a test may end with the error that it meets")]

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{DType, Tensor, TensorData};
use safetensors::SafeTensors;
use safetensors::tensor::serialize;
use serde_json::Value;
use setokim::convert::{Precision, Precisions, SHARD_BYTES, SourceOptions, open_source, write_bundle};
use setokim::formats::gguf::Gguf;
use setokim::model::config::MaskHeadConfig;
use setokim::model::encoded_image::EncodedImage;
use setokim::model::feature_maps::{FeatureMaps, FinerMaps};
use setokim::model::language::Position;
use setokim::model::mask_head::{MaskHead, MaskLogits};
use setokim::model::setokim::Setokim;
use setokim::nn::tensor_store::TensorStore;
use setokim::runtime::device::OpenDevice;
use setokim::{AnswerOptions, Crop, Event, Image, Message, Part, Role, Tokenizer};

use crate::common::{assert_close, cpu, floats, gpu};

const PHOTO: &[u8] = include_bytes!("../fixtures/photo_tiny.safetensors");
const LANGUAGE: &[u8] = include_bytes!("../fixtures/photo_language.safetensors");
const CONFIGS: [&str; 2] =
    [include_str!("../fixtures/photo_tiny.json"), include_str!("../fixtures/photo_language.json")];
const GGUF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny.gguf");
/// Activations are rounded to 16 bits before they meet packed weights; numbers are below 10.
const TOLERANCE: f32 = 2e-3;
const SIDE: u32 = 64;

fn golden(file: &[u8], name: &str) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(SafeTensors::deserialize(file).unwrap().tensor(name).unwrap().data())
}

fn golden_ids(name: &str) -> Vec<i32> {
    bytemuck::pod_collect_to_vec(SafeTensors::deserialize(LANGUAGE).unwrap().tensor(name).unwrap().data())
}

/// What is told of names; the goldens are without.
const NAMES: &str = "\nNames: {}.";

/// Both configs as one, without the phrase encoder, whose words are of another width.
fn config() -> Value {
    let [mut config, more] = CONFIGS.map(|text| serde_json::from_str::<Value>(text).unwrap());
    config.as_object_mut().unwrap().remove("phrase");
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config["prompts"]["names"] = NAMES.into();
    config["prompts"]["most_names"] = 2.into();
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
        ["neck.", "setok.", "projector.", "adapters.", "mask_head.", "names."]
            .iter()
            .any(|prefix| name.starts_with(prefix))
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
fn seen(model: &Setokim) -> Arc<EncodedImage> {
    let (mean, std) = (golden(LANGUAGE, "projector.mean"), golden(LANGUAGE, "projector.std"));
    let normal = |token: &[f32]| (0..token.len()).map(|i| (token[i] - mean[i]) / std[i]).collect::<Vec<f32>>();
    let tokens: Vec<_> = golden(PHOTO, "tokens").chunks_exact(mean.len()).map(normal).collect();
    let labels: Vec<i32> =
        bytemuck::pod_collect_to_vec(SafeTensors::deserialize(PHOTO).unwrap().tensor("labels").unwrap().data());
    let side = SIDE as usize;
    let patches = labels.len();
    let (features, stride8) = (golden(PHOTO, "normal"), golden(PHOTO, "stride8"));
    let (width, channels) = (features.len() / patches, stride8.len() / (4 * patches));
    Arc::new(EncodedImage {
        image: Image::from_rgb(vec![128; 3 * side * side], SIDE, SIDE).unwrap(),
        crop: Crop { x: 0.0, y: 0.0, width: SIDE.into(), height: SIDE.into() },
        grid: [patches.isqrt(); 2],
        labels: labels.into_iter().map(|label| label as u32).collect(),
        ids: (0..tokens.len()).collect(),
        names: Vec::new(),
        tokens,
        maps: Some(FeatureMaps {
            features: tensor(features, [patches, width], model),
            finer: FinerMaps::Stride8(tensor(stride8, [channels, 4 * patches], model).transpose()),
        }),
        milliseconds: 0.0,
    })
}

fn question(photo: &Arc<EncodedImage>, text: &str) -> Message {
    Message { role: Role::User, parts: vec![Part::Image(photo.clone()), Part::Text(text.into())] }
}

/// Ids of words, -1 for the tokens of the image.
fn ids(turns: &[Vec<Position>]) -> Vec<i32> {
    let id = |position: &Position| if let Position::Word(id) = position { *id as i32 } else { -1 };
    turns.iter().flatten().map(id).collect()
}

fn text_of(name: &str) -> String {
    let ids: Vec<u32> = golden_ids(name).into_iter().map(|id| id as u32).collect();
    let bytes = std::fs::read(GGUF).unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
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
        let turns = language.turns(&[question(&photo, &describe)]).unwrap();
        assert_eq!(ids(&turns), golden_ids("prompt"));
        let values = hidden(&model, &turns, true).await;
        assert_close("hidden states", &values, &golden(LANGUAGE, "hidden"), TOLERANCE);

        let turns = language.turns(&[Message::text(Role::User, "Hello!")]).unwrap();
        assert_eq!(ids(&turns), golden_ids("plain_prompt"));
        let values = hidden(&model, &turns, false).await;
        assert_close("plain hidden states", &values, &golden(LANGUAGE, "plain_hidden"), TOLERANCE);
    }
}

/// An image for which there are none is read as ever.
#[tokio::test]
async fn names_of_tokens_are_told_right_after_the_photo() {
    for model in models().await {
        let (language, photo) = (model.language().unwrap(), seen(&model));
        let read = |photo: &EncodedImage, text: &str| {
            ids(&language.turns(&[question(&Arc::new(photo.clone()), text)]).unwrap())
        };
        let told = EncodedImage { names: vec!["dog".into(), "grass".into()], ..EncodedImage::clone(&photo) };
        let words = NAMES.replace("{}", "dog, grass");
        // As a part of the text that follows the photo.
        assert_eq!(read(&told, "Who?"), read(&photo, &format!("{}\nWho?", &words[1..])));
        assert_ne!(read(&told, "Who?"), read(&photo, "Who?"));
        let encoded = model.encode_image(&photo.image).await.unwrap();
        let known = model.name_tokens(&model.tokenize(&photo.image).await.unwrap()).await.unwrap().unwrap().names;
        assert!(!encoded.names.is_empty() && encoded.names.len() <= 2);
        assert!(encoded.names.iter().all(|name| known.iter().any(|token| token.name == *name)), "{:?}", encoded.names);
    }
}

/// By turns, so that nothing of one is left for the other.
#[tokio::test]
async fn photos_are_described_in_pytorchs_words_and_plain_chat_is_the_language_models_own() {
    for model in models().await {
        let photo = seen(&model);
        let options = AnswerOptions { max_tokens: 12, ..AnswerOptions::default() };
        for _ in 0..2 {
            let answer = model.describe(&photo, &options).await.unwrap();
            assert_eq!(answer.text(), text_of("greedy"));
            let hello = [Message::text(Role::User, "Hello!")];
            let answer = model.chat(&hello, &options).await.unwrap();
            assert_eq!(answer.text(), text_of("plain_greedy"));
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
        let head = MaskHead::load(&mut store, &MaskHeadConfig { width: 64, refine: false }, 64, &model.config().vision);
        let state = tensor(golden(LANGUAGE, "find_state"), [1, 64], &model);
        let ours = head.unwrap().forward(state, photo.maps.as_ref().unwrap()).unwrap();
        assert_eq!(ours.dims(), [1, side, side]);
        assert_close("mask logits", &floats(ours).await, &logits, 1e-4);
        // And asked for.
        let options = AnswerOptions { required: true, ..AnswerOptions::default() };
        let found = model.segment(&photo, "A dog", &options).await.unwrap().mask.unwrap();
        let expected = MaskLogits::new(logits, side).unwrap();
        let near = |at: (usize, usize)| {
            let center = |i: usize| (i as f64 + 0.5) / f64::from(SIDE);
            expected.at(center(at.0), center(at.1)).abs() < TOLERANCE
        };
        let whole = expected.to_mask(&photo.crop, SIDE, SIDE).unwrap();
        let differ = |(at, (a, b)): (usize, (&bool, &bool))| a != b && !near((at % SIDE as usize, at / SIDE as usize));
        assert!(!found.mask.bits().iter().zip(whole.bits()).enumerate().any(differ));
        let [x, y] = found.point;
        assert!(whole.bits()[y as usize * SIDE as usize + x as usize]);
    }
}

#[tokio::test]
async fn an_edit_changes_the_pixels_that_are_found_and_no_others() {
    let model = open(cpu().await);
    assert!(model.tasks().contains(&"edit"));
    let photo = seen(&model);
    let options = AnswerOptions { required: true, ..AnswerOptions::default() };
    let found = model.segment(&photo, "a dog", &options).await.unwrap().mask.unwrap();
    let mut editing = model.edit(&photo, "Make a dog red", &options);
    let mut events = Vec::new();
    while let Some(event) = editing.next().await {
        events.push(event);
    }
    assert!(matches!(events[..], [.., Event::Mask(_), Event::Image(_), Event::Done(_)]), "{events:?}");
    let edited = editing.await.unwrap().image.unwrap();
    let pixels = edited.image.rgb().as_chunks::<3>().0.iter().zip(photo.image.rgb().as_chunks::<3>().0).enumerate();
    let side = SIDE as usize;
    let mut changed = 0;
    for (at, (after, before)) in pixels {
        // The rim of so small an image is one pixel.
        let near = |dx: usize, dy: usize| {
            let (x, y) = (at % side + dx, at / side + dy);
            (1..=side).contains(&x) && (1..=side).contains(&y) && found.mask.bits()[(y - 1) * side + x - 1]
        };
        assert!(after == before || (0..9).any(|i| near(i % 3, i / 3)), "pixel {at}");
        changed += usize::from(after != before);
    }
    assert!(changed > 0);
    let whole = model.edit(&photo, "darken the photo", &options).await.unwrap();
    assert!(whole.image.unwrap().image.rgb().iter().all(|&value| value < 128));
    assert_eq!(model.edit(&photo, "add a hat", &options).await.unwrap_err().code(), "edit-unsupported");
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
