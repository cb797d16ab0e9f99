//! The photo model's eyes against PyTorch (`training/photo/fixtures.py`), stage by stage, on the CPU and on a GPU.

use crate::common::{assert_close, cpu, floats, gpu};
use burn::tensor::{DType, Tensor, TensorData};
use setokim::formats::safetensors::read_safetensors_f32;
use setokim::image::Image;
use setokim::image::preprocess::{Normalisation, ResizeFilter, ResizeMode, preprocess};
use setokim::model::config::{EfficientNetConfig, SetokimConfig, VisionConfig};
use setokim::model::phrase::PhraseEncoder;
use setokim::model::setok::{Clusters, SetokTokenizer};
use setokim::model::setokim::Setokim;
use setokim::model::vision::{EfficientNet, Neck};
use setokim::nn::tensor_store::TensorStore;
use setokim::runtime::device::OpenDevice;
use wasm_bindgen_test::wasm_bindgen_test;

/// Thirty f32 layers in another order of summation, values up to 6.
const TOLERANCE: f32 = 1e-4;

const CONFIG: &str = include_str!("../fixtures/photo_tiny.json");
const WEIGHTS: &[u8] = include_bytes!("../fixtures/photo_tiny.safetensors");

async fn devices() -> [OpenDevice; 2] {
    [cpu().await, gpu().await]
}

fn config() -> SetokimConfig {
    SetokimConfig::from_json(CONFIG).expect("a valid config")
}

fn net(config: &SetokimConfig) -> &EfficientNetConfig {
    let VisionConfig::EfficientNet(net) = &config.vision else { panic!("the photo model has an EfficientNet") };
    net
}

fn store(open: &OpenDevice) -> TensorStore {
    // The fixture holds the answers too.
    let keep =
        |name: &str| ["encoder.", "neck.", "setok.", "phrase.", "names."].iter().any(|part| name.starts_with(part));
    let mut store = TensorStore::keeping(&open.device, keep);
    store.add_shard("photo_tiny.safetensors", WEIGHTS.to_vec()).expect("the fixture");
    store
}

fn golden(name: &str) -> (Vec<usize>, Vec<f32>) {
    read_safetensors_f32(WEIGHTS, name).expect("in the fixture")
}

fn golden_labels() -> Vec<usize> {
    let file = safetensors::SafeTensors::deserialize(WEIGHTS).expect("a fixture");
    let bytes = file.tensor("labels").expect("in the fixture").data().to_vec();
    bytes.as_chunks::<4>().0.iter().map(|&b| i32::from_le_bytes(b) as usize).collect()
}

/// `[C, h, w]` -> `[h w, C]`.
fn pixel_rows((shape, values): (Vec<usize>, Vec<f32>)) -> Vec<f32> {
    let (channels, pixels) = (shape[0], shape[1] * shape[2]);
    (0..pixels)
        .flat_map(|pixel| (0..channels).map(move |channel| (channel, pixel)))
        .map(|(c, p)| values[c * pixels + p])
        .collect()
}

fn input(open: &OpenDevice) -> Tensor<4> {
    let (shape, values) = golden("input");
    Tensor::from_data(TensorData::new(values, [1, shape[0], shape[1], shape[2]]), (&open.device, DType::F32))
}

fn golden_matrix(name: &str, open: &OpenDevice) -> Tensor<2> {
    let (shape, values) = golden(name);
    Tensor::from_data(TensorData::new(values, shape), (&open.device, DType::F32))
}

/// The clusters of the fixture, in the order of their numbers there.
fn golden_clusters() -> Clusters {
    let labels = golden_labels();
    let count = labels.iter().max().expect("patches") + 1;
    let nothing = vec![0.0; labels.len()];
    Clusters { labels, centers: vec![0; count], density: nothing.clone(), delta: nothing.clone(), score: nothing }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn the_encoder_equals_pytorch_at_every_stride() {
    for open in devices().await {
        let net = EfficientNet::load(&mut store(&open), net(&config())).expect("loads");
        let levels = net.forward(input(&open));
        let [positions, _] = levels.head.dims();
        let pooled = levels.head.clone().mean_dim(0);
        assert_eq!(positions, 4);
        for (name, map) in [
            ("stride8", levels.stride8),
            ("stride16", levels.stride16),
            ("stride32", levels.stride32),
            ("head", levels.head),
        ] {
            assert_close(name, &floats(map).await, &pixel_rows(golden(name)), TOLERANCE);
        }
        assert_close("logits", &floats(net.classify(pooled)).await, &golden("logits").1, TOLERANCE);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn the_neck_equals_pytorch() {
    for open in devices().await {
        let (config, mut store) = (config(), store(&open));
        let encoder = EfficientNet::load(&mut store, net(&config)).expect("loads");
        let neck = Neck::load(&mut store, net(&config)).expect("loads");
        let features = neck.forward(&encoder.forward(input(&open)));
        assert_close("features", &floats(features.clone()).await, &golden("features").1, TOLERANCE);
        let setok = SetokTokenizer::load(&mut store, &config).expect("loads");
        let normal = setok.normalize(features);
        assert_close("normal", &floats(normal).await, &golden("normal").1, TOLERANCE);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn clusters_are_those_of_pytorch_by_area() {
    for open in devices().await {
        let setok = SetokTokenizer::load(&mut store(&open), &config()).expect("loads");
        let clusters = setok.cluster(golden_matrix("normal", &open)).await.expect("clusters");
        let place = places_by_area(&clusters);
        assert_eq!(clusters.labels.iter().map(|&label| place[label]).collect::<Vec<_>>(), golden_labels());
    }
}

/// Of each cluster, how many come before it: the larger ones, and of those of its own size the ones with lower centres.
fn places_by_area(clusters: &Clusters) -> Vec<usize> {
    let sizes = clusters.sizes();
    let comes_before = |a: usize, b: usize| sizes[a] > sizes[b] || (sizes[a] == sizes[b] && a < b);
    (0..sizes.len()).map(|b| (0..sizes.len()).filter(|&a| comes_before(a, b)).count()).collect()
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn tokens_equal_pytorch() {
    for open in devices().await {
        let setok = SetokTokenizer::load(&mut store(&open), &config()).expect("loads");
        let head = pixel_rows(golden("head"));
        let head = Tensor::from_data(TensorData::new(head, [4, 40]), (&open.device, DType::F32));
        let tokens = setok.merge(golden_matrix("normal", &open), Some(head), &golden_clusters()).expect("has a merger");
        assert_close("tokens", &floats(tokens).await, &golden("tokens").1, TOLERANCE);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn phrases_meet_tokens_and_cells_as_in_pytorch() {
    for open in devices().await {
        let config = config();
        let phrase = config.phrase.expect("has phrases");
        let phrases = PhraseEncoder::load(&mut store(&open), &phrase, 24, 32).expect("loads");
        let directions = phrases.encode(golden_matrix("words", &open));
        let tokens = phrases.match_tokens(directions.clone(), golden_matrix("tokens", &open));
        assert_close("tokens", &floats(tokens).await, &golden("token_logits").1, TOLERANCE);
        let cells = phrases.match_cells(directions, golden_matrix("normal", &open));
        assert_close("cells", &floats(cells).await, &golden("cell_logits").1, TOLERANCE);
    }
}

/// Means and deviations in [0, 1] give the encoder's unit, (x - 127) / 128.
#[wasm_bindgen_test(unsupported = tokio::test)]
async fn pixels_come_in_the_encoders_unit() {
    let (mean, std) = config().vision.normalization();
    let rgb: Vec<u8> = (0..=255).flat_map(|value| [value; 3]).collect();
    let image = Image::from_rgb(rgb, 16, 16).expect("a picture");
    let normalisation = Normalisation { mean, std };
    let square = preprocess(&image, 16, ResizeMode::Squash, ResizeFilter::Bicubic, &normalisation).expect("a square");
    let known: Vec<f32> = (0..3 * 256).map(|at| ((at % 256) as f32 - 127.0) / 128.0).collect();
    assert_close("pixels", &square.pixels, &known, 1e-6);
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_config_that_the_encoder_cannot_follow_is_refused_by_name() {
    for (from, to, named) in [
        ("\"stride\": 2", "\"stride\": 3", "a stride is 1 or 2"),
        ("\"kernel\": 5", "\"kernel\": 4", "a kernel is"),
        ("\"channels\": 16", "\"channels\": 18", "multiples of 4"),
        ("\"image_size\": 64", "\"image_size\": 80", "multiple of 32"),
        ("\"stem\": 8", "\"stem\": 9", "multiple of 4"),
        ("\"repeats\": 2", "\"repeats\": 100", "repeats"),
        ("\"heads\": 2", "\"heads\": 5", "heads"),
    ] {
        assert!(CONFIG.contains(from), "{from}");
        let error = SetokimConfig::from_json(&CONFIG.replacen(from, to, 1)).expect_err(to);
        assert_eq!(error.code(), "config-invalid", "{to}");
        assert!(error.to_string().contains(named), "{to}: {error}");
    }
}

/// The published encoder at its real size, from a file of `python -m training.photo.fixtures --encoder FILE`.
#[cfg(not(target_family = "wasm"))]
#[tokio::test]
#[ignore = "needs the published encoder's weights: $SETOKIM_PHOTO_ENCODER"]
async fn the_published_encoder_equals_pytorch() {
    let Ok(path) = std::env::var("SETOKIM_PHOTO_ENCODER") else {
        return println!("left out: $SETOKIM_PHOTO_ENCODER names no file of `training.photo.fixtures --encoder`");
    };
    let file = std::fs::read(&path).expect("the file can be read");
    let read = |name: &str| read_safetensors_f32(&file, name).expect("in the file");
    let shipped = std::fs::read_to_string("models/setokim-photo/config.json").expect("in the repository");
    let config = SetokimConfig::from_json(&shipped).expect("a valid config");
    for open in devices().await {
        let mut store = TensorStore::keeping(&open.device, |name| name.starts_with("encoder."));
        store.add_shard("encoder", file.clone()).expect("loads");
        let net = EfficientNet::load(&mut store, net(&config)).expect("loads");
        assert_eq!(store.leftover().count(), 0, "every tensor is used");
        let input = Tensor::from_data(TensorData::new(read("input").1, [1, 3, 384, 384]), (&open.device, DType::F32));
        let levels = net.forward(input);
        let logits = net.classify(levels.head.clone().mean_dim(0));
        assert_close("logits", &floats(logits).await, &read("logits").1, TOLERANCE);
        for (name, map) in [
            ("stride8", levels.stride8),
            ("stride16", levels.stride16),
            ("stride32", levels.stride32),
            ("head", levels.head),
        ] {
            let theirs = pixel_rows(read(name));
            // No activation bounds what a block gives.
            let largest = theirs.iter().fold(1.0f32, |largest, value| largest.max(value.abs()));
            assert_close(name, &floats(map).await, &theirs, TOLERANCE * largest);
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn tokens_are_named_by_the_head_map_alike_everywhere() {
    let pixels = (0..64 * 64 * 3).map(|at| (at * at % 251) as u8).collect();
    let image = Image::from_rgb(pixels, 64, 64).expect("a picture");
    let mut named = Vec::new();
    for open in devices().await {
        let store = store(&open);
        let model = Setokim::load(config(), store, open).expect("loads");
        let visual = model.tokenize(&image).await.expect("tokens");
        let names = model.name_tokens(&visual).await.expect("works").expect("it has names").names;
        assert_eq!(names.len(), visual.report.tokens.len());
        let regions: Vec<i32> = visual.report.labels.iter().map(|&label| label as i32).collect();
        let by_region = model.name_regions(&image, &regions).await.expect("works");
        assert_eq!(by_region.into_values().collect::<Vec<_>>(), names, "the same regions have the same names");
        named.push(names);
    }
    let [cpu, gpu] = &named[..] else { panic!("two devices") };
    for (cpu, gpu) in cpu.iter().zip(gpu) {
        assert_eq!(cpu.name, gpu.name);
        assert!((cpu.confidence - gpu.confidence).abs() < 1e-3, "{} {}", cpu.confidence, gpu.confidence);
    }
}
