//! Every stage against PyTorch (`training/fixtures/tokenizer.py`) and `transformers`, on the CPU and on a GPU.

use crate::common::{assert_close, cpu, floats, gpu, matrix};
use burn::tensor::{DType, Tensor, TensorData};
use setokim::formats::manifest::Manifest;
use setokim::formats::safetensors::read_safetensors_f32;
use setokim::image::Image;
use setokim::model::config::{SetokimConfig, SiglipConfig, VisionConfig};
use setokim::model::detok::Detokenizer;
use setokim::model::setok::{Clusters, SetokTokenizer};
use setokim::model::setokim::Setokim;
use setokim::model::shard_loader::ShardLoader;
use setokim::model::vision::VisionEncoder;
use setokim::nn::tensor_store::TensorStore;
use setokim::runtime::device::OpenDevice;
use wasm_bindgen_test::wasm_bindgen_test;

/// A dozen f32 layers in another order of summation, values near 1.
const TOLERANCE: f32 = 1e-4;

const CONFIG: &str = include_str!("../fixtures/tiny-model/config.json");
const MANIFEST: &str = include_str!("../fixtures/tiny-model/manifest.json");
const SHARD: &[u8] = include_bytes!("../fixtures/tiny-model/setok-00001-of-00001.safetensors");
const SHARD_NAME: &str = "setok-00001-of-00001.safetensors";
const VISION: &[u8] = include_bytes!("../fixtures/vision_tiny.safetensors");
const MERGER: &[u8] = include_bytes!("../fixtures/merger_tiny.safetensors");
const DETOK: &[u8] = include_bytes!("../fixtures/detok_tiny.safetensors");
const SETOK: &[u8] = include_bytes!("../fixtures/setok_tiny.safetensors");
const SIGLIP_CONFIG: &str = include_str!("../fixtures/siglip-tiny/config.json");
const SIGLIP_WEIGHTS: &[u8] = include_bytes!("../fixtures/siglip-tiny/model.safetensors");
const SIGLIP_EXPECTED: &[u8] = include_bytes!("../fixtures/siglip-tiny/expected.safetensors");

async fn devices() -> [OpenDevice; 2] {
    [cpu().await, gpu().await]
}

fn config() -> SetokimConfig {
    SetokimConfig::from_json(CONFIG).expect("a valid config")
}

fn tiny_store(open: &OpenDevice) -> TensorStore {
    let manifest = Manifest::parse(MANIFEST).expect("a valid manifest");
    let mut shards = ShardLoader::new(&manifest, TensorStore::new(&open.device));
    shards.add(SHARD_NAME, SHARD.to_vec()).expect("the shard");
    shards.finish().expect("complete")
}

fn tiny_model(open: OpenDevice) -> Setokim {
    Setokim::load(config(), tiny_store(&open), open).expect("the model")
}

fn golden(file: &[u8], name: &str) -> (Vec<usize>, Vec<f32>) {
    read_safetensors_f32(file, name).expect("in the fixture")
}

fn golden_integers(file: &[u8], name: &str) -> Vec<usize> {
    let file = safetensors::SafeTensors::deserialize(file).expect("a fixture");
    let bytes = file.tensor(name).expect("in the fixture").data().to_vec();
    bytes.as_chunks::<4>().0.iter().map(|&b| i32::from_le_bytes(b) as usize).collect()
}

fn batch(file: &[u8], name: &str, open: &OpenDevice) -> Tensor<4> {
    let (shape, values) = golden(file, name);
    Tensor::from_data(TensorData::new(values, shape), (&open.device, DType::F32))
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn vision_equals_pytorch() {
    for open in devices().await {
        let vision = VisionEncoder::load(&mut tiny_store(&open), &config().vision).expect("loads");
        let features = vision.forward(batch(VISION, "image", &open));
        assert_eq!(features.dims(), [1, 16, 16]);
        assert_close("features", &floats(features).await, &golden(VISION, "features").1, TOLERANCE);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn siglip_equals_transformers_at_both_layers() {
    for open in devices().await {
        for (select_layer, name) in [(-1, "layer_-1"), (-2, "layer_-2")] {
            let VisionConfig::Siglip(tower) = SetokimConfig::from_json(SIGLIP_CONFIG).expect("unchanged").vision else {
                panic!("a SigLIP config is read as one");
            };
            let tower = VisionConfig::Siglip(SiglipConfig { select_layer, ..tower });
            let mut store = TensorStore::new(&open.device);
            store.add_shard("model.safetensors", SIGLIP_WEIGHTS.to_vec()).expect("loads");
            let vision = VisionEncoder::load(&mut store, &tower).expect("loads");
            let features = vision.forward(batch(SIGLIP_EXPECTED, "pixel_values", &open));
            assert_close(name, &floats(features).await, &golden(SIGLIP_EXPECTED, name).1, TOLERANCE);
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn merger_equals_pytorch() {
    let labels = golden_integers(MERGER, "labels");
    // The merger reads the labels alone; any member will do as a centre.
    let count = labels.iter().max().expect("patches") + 1;
    let centers = (0..count).map(|c| labels.iter().position(|&l| l == c).expect("a member")).collect();
    let nothing = vec![0.0; labels.len()];
    let clusters = Clusters { labels, centers, density: nothing.clone(), delta: nothing.clone(), score: nothing };
    for open in devices().await {
        let setok = SetokTokenizer::load(&mut tiny_store(&open), &config()).expect("loads");
        let features = matrix(&golden(MERGER, "features").1, [16, 16], &open.device);
        let tokens = setok.merge(features, None, &clusters).expect("has a merger");
        assert_close("tokens", &floats(tokens).await, &golden(MERGER, "tokens").1, TOLERANCE);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn detokenizer_equals_pytorch() {
    let config = config();
    let settings = config.detokenizer.expect("has one");
    for open in devices().await {
        let detok = Detokenizer::load(&mut tiny_store(&open), &settings, &config.vision, 8).expect("loads");
        let tokens = golden(DETOK, "tokens").1;
        let tokens = matrix(&tokens, [tokens.len() / 8, 8], &open.device);
        assert_close("image", &floats(detok.forward(tokens)).await, &golden(DETOK, "image").1, TOLERANCE);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn the_whole_tokenizer_equals_pytorch_from_pixels_to_pixels() {
    let file = safetensors::SafeTensors::deserialize(SETOK).expect("a fixture");
    let rgb = file.tensor("pixels").expect("in the fixture").data().to_vec();
    let expected = file.tensor("reconstructed_pixels").expect("in the fixture").data().to_vec();
    let image = Image::from_rgb(rgb, 32, 32).expect("a picture");
    for open in devices().await {
        let model = tiny_model(open);
        let (again, visual) = model.reconstruct(&image).await.expect("works");
        assert_eq!(visual.clusters.labels, golden_integers(SETOK, "labels"));
        assert_eq!(visual.clusters.centers, golden_integers(SETOK, "centers"));
        assert_close("score", &visual.clusters.score, &golden(SETOK, "score").1, TOLERANCE);
        let tokens = floats(visual.tensor.clone().expect("merged")).await;
        assert_close("tokens", &tokens, &golden(SETOK, "tokens").1, TOLERANCE);
        let off = again.rgb().iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().expect("pixels");
        assert!(off <= 1, "a pixel is off by {off}: more than one rounding");

        let named = model.name_tokens(&visual).await.expect("works").expect("has heads");
        assert_eq!(named.unfamiliar, Some(true), "random weights are sure of nothing");
        let names = named.names;
        assert_eq!(names.len(), visual.report.tokens.len());
        let logits = golden(SETOK, "name_logits").1;
        let labels = config().labels.expect("has labels").names;
        for (name, logits) in names.iter().zip(logits.chunks_exact(labels.len())) {
            let best = (0..labels.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).expect("labels");
            assert_eq!(name.name, labels[best]);
            assert!(name.confidence > 0.0 && name.confidence <= 1.0);
        }
        // The same partition under other numbers.
        let regions: Vec<i32> = visual.clusters.labels.iter().map(|&label| 10 * label as i32 - 3).collect();
        let by_region = model.name_regions(&image, &regions).await.expect("works");
        let text: Vec<_> = by_region.into_values().map(|named| named.name).collect();
        assert_eq!(text, names.iter().map(|named| named.name.clone()).collect::<Vec<_>>());
        assert_eq!(model.name_regions(&image, &regions[1..]).await.expect_err("too few").code(), "setting-invalid");
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn the_same_picture_twice_gives_the_same_tokens() {
    let image = Image::from_rgb((0..48 * 40 * 3).map(|i| (i * 37 % 251) as u8).collect(), 48, 40).expect("rgb");
    for open in devices().await {
        let model = tiny_model(open);
        let first = model.tokenize(&image).await.expect("first");
        let second = model.tokenize(&image).await.expect("second");
        assert_eq!(first.clusters, second.clusters);
        let (a, b) = (first.tensor.expect("tokens"), second.tensor.expect("tokens"));
        assert_eq!(floats(a).await, floats(b).await);
        assert_eq!(first.report.image.width, 48);
        assert_eq!(first.report.labels.len(), 16);
    }
}
