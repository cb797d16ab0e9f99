//! The language model with pictures against PyTorch (`training/fixtures/language_model.py` and `multimodal.py`): every
//! module alone, then the four tasks from pixels to answer; and what the loop promises whatever the weights.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{DType, Tensor, TensorData};
use common::{assert_close, cpu, floats, gpu, matrix};
use setokim::formats::manifest::Manifest;
use setokim::formats::safetensors::read_safetensors_f32;
use setokim::image::Image;
use setokim::image::preprocess::Crop;
use setokim::model::answer::AnswerOptions;
use setokim::model::config::{SetokimConfig, VisionConfig};
use setokim::model::decode::Finish;
use setokim::model::detok::Detokenizer;
use setokim::model::diffusion::{DiffusionHead, DiffusionOptions};
use setokim::model::encoded_image::EncodedImage;
use setokim::model::events::{Answer, AnswerPart, Event};
use setokim::model::feature_maps::FeatureMaps;
use setokim::model::language::{Language, Position};
use setokim::model::mask_head::{MaskHead, MaskLogits};
use setokim::model::projector::Projector;
use setokim::model::setokim::Setokim;
use setokim::model::shard_loader::ShardLoader;
use setokim::model::vision::{VisionEncoder, VisionOutput};
use setokim::nn::tensor_store::TensorStore;
use setokim::runtime::device::OpenDevice;
use setokim::text::{Message, Part, Role, Tokenizer};
use setokim::{Error, Result};
use wasm_bindgen_test::wasm_bindgen_test;

/// A dozen f32 layers in another order of summation, values near 1.
const TOLERANCE: f32 = 1e-4;
/// Five to twenty-five steps of denoising on top, each of which passes on what the one before was off by.
const DRAWN_TOLERANCE: f32 = 1e-3;

const CONFIG: &str = include_str!("fixtures/tiny-setokim/config.json");
const MANIFEST: &str = include_str!("fixtures/tiny-setokim/manifest.json");
const SHARD: &[u8] = include_bytes!("fixtures/tiny-setokim/setok-00001-of-00001.safetensors");
const SHARD_NAME: &str = "setok-00001-of-00001.safetensors";
const TOKENIZER: &[u8] = include_bytes!("fixtures/tiny-setokim/tokenizer.json");
const EXPECTED: &[u8] = include_bytes!("fixtures/setokim_tiny.safetensors");
const DETOK: &[u8] = include_bytes!("fixtures/detok_tiny.safetensors");
const TASKS: &[u8] = include_bytes!("fixtures/tasks_tiny.safetensors");
const ASKED: &str = include_str!("fixtures/tasks_tiny.json");

/// Side of the tiny model's square image.
const SIDE: u32 = 32;

static NEVER: AtomicBool = AtomicBool::new(false);

async fn devices() -> [OpenDevice; 2] {
    [cpu().await, gpu().await]
}

fn config() -> SetokimConfig {
    SetokimConfig::from_json(CONFIG).expect("a valid config")
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_json(TOKENIZER).expect("a valid tokenizer")
}

fn tiny_store(open: &OpenDevice) -> TensorStore {
    let manifest = Manifest::parse(MANIFEST).expect("a valid manifest");
    let mut shards = ShardLoader::new(&manifest, TensorStore::new(&open.device));
    shards.add(SHARD_NAME, SHARD.to_vec()).expect("the shard");
    shards.finish().expect("complete")
}

fn tiny_model(open: OpenDevice) -> Setokim {
    Setokim::load_with_text(config(), tiny_store(&open), tokenizer(), open).expect("the model")
}

fn golden(file: &[u8], name: &str) -> Vec<f32> {
    read_safetensors_f32(file, name).expect("in the fixture").1
}

fn golden_tensor<const D: usize>(name: &str, open: &OpenDevice) -> Tensor<D> {
    let (shape, values) = read_safetensors_f32(EXPECTED, name).expect("in the fixture");
    Tensor::from_data(TensorData::new(values, shape), (&open.device, DType::F32))
}

fn golden_integers(file: &[u8], name: &str) -> Vec<i32> {
    let file = safetensors::SafeTensors::deserialize(file).expect("a fixture");
    let bytes = file.tensor(name).expect("in the fixture").data().to_vec();
    bytes.as_chunks::<4>().0.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect()
}

fn golden_bytes(file: &[u8], name: &str) -> Vec<u8> {
    let file = safetensors::SafeTensors::deserialize(file).expect("a fixture");
    file.tensor(name).expect("in the fixture").data().to_vec()
}

fn golden_picture(file: &[u8], name: &str) -> Image {
    Image::from_rgb(golden_bytes(file, name), SIDE, SIDE).expect("a picture")
}

// --- modules

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn projector_equals_pytorch() {
    for open in devices().await {
        let projector = Projector::load(&mut tiny_store(&open), 8, 16).expect("loads");
        let normal = projector.normalize(golden_tensor("tokens", &open));
        assert_close("normalized", &floats(normal.clone()).await, &golden(EXPECTED, "normalized_tokens"), TOLERANCE);
        assert_close(
            "denormalized",
            &floats(projector.denormalize(normal)).await,
            &golden(EXPECTED, "tokens"),
            TOLERANCE,
        );
    }
}

/// The prompt of the fixture: words around one image.
fn golden_positions() -> Vec<Position> {
    let tokens = golden(EXPECTED, "normalized_tokens");
    let slots = golden_integers(EXPECTED, "slots");
    let position = |(id, slot): (i32, i32)| match usize::try_from(slot) {
        Ok(slot) => Position::Visual { slot, token: tokens[slot * 8..][..8].to_vec() },
        Err(_) => Position::Word(id as u32),
    };
    golden_integers(EXPECTED, "ids").into_iter().zip(slots).map(position).collect()
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn words_and_visual_tokens_give_pytorchs_hidden_states() {
    for open in devices().await {
        let model = tiny_model(open);
        let language = model.language().expect("has one");
        let positions = golden_positions();
        let embeddings = floats(language.embed(&positions).expect("known ids")).await;
        assert_close("embeddings", &embeddings, &golden(EXPECTED, "embeddings"), TOLERANCE);
        let mut cache = language.llama().new_cache(64).expect("fits");
        let hidden = language.forward(&positions, &mut cache).expect("fits");
        assert_close("hidden", &floats(hidden.clone()).await, &golden(EXPECTED, "hidden"), TOLERANCE);
        let logits = floats(language.llama().logits(hidden, None)).await;
        assert_close("logits", &logits, &golden(EXPECTED, "logits"), TOLERANCE);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_picture_is_seen_largest_token_first() {
    for open in devices().await {
        let model = tiny_model(open);
        let image = golden_picture(EXPECTED, "pixels");
        let encoded = model.encode_image(&image).await.expect("works");
        let order: Vec<usize> = golden_integers(EXPECTED, "token_order").iter().map(|&id| id as usize).collect();
        assert_eq!(encoded.ids, order);
        assert_close("tokens", &encoded.tokens.concat(), &golden(EXPECTED, "normalized_tokens"), TOLERANCE);
        let report = model.tokenize(&image).await.expect("works").report;
        for (label, id) in encoded.labels.iter().zip(&report.labels) {
            assert_eq!(encoded.ids[*label as usize], *id as usize);
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn diffusion_head_equals_pytorch() {
    let settings = config().diffusion.expect("has one");
    for open in devices().await {
        let head = DiffusionHead::load(&mut tiny_store(&open), &settings, 8, 16).expect("loads");
        assert_close("levels", head.levels(), &golden(EXPECTED, "diffusion_levels"), 1e-6);
        let noise = || golden_tensor::<2>("diffusion_noise", &open);
        let condition = || golden_tensor::<2>("diffusion_condition", &open);
        let v = floats(head.forward(noise(), 500, condition())).await;
        assert_close("v", &v, &golden(EXPECTED, "diffusion_v_at_500"), TOLERANCE);
        for (guidance, name) in [(1.0, "diffusion_sample_5_steps"), (2.0, "diffusion_sample_5_steps_guidance_2")] {
            let options = DiffusionOptions { steps: 5, guidance, ..DiffusionOptions::default() };
            let drawn = floats(head.sample(noise(), condition(), &options)).await;
            assert_close(name, &drawn, &golden(EXPECTED, name), DRAWN_TOLERANCE);
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn mask_head_equals_pytorch() {
    let config = config();
    let VisionConfig::Vit(vit) = &config.vision else { panic!("the tiny model is a ViT") };
    for open in devices().await {
        let mut store = tiny_store(&open);
        let vision = VisionEncoder::load(&mut store, &config.vision).expect("loads");
        let head = MaskHead::load(&mut store, &config.mask_head.expect("has one"), 16, vit).expect("loads");
        let image = golden_picture(EXPECTED, "pixels");
        let pixels: Vec<f32> =
            (0..3).flat_map(|c| image.rgb().iter().skip(c).step_by(3)).map(|&v| f32::from(v) / 127.5 - 1.0).collect();
        let pixels = Tensor::<4>::from_data(TensorData::new(pixels, [1, 3, 32, 32]), (&open.device, DType::F32));
        let VisionOutput { features, stem, .. } = vision.encode(pixels);
        let norm = setokim::nn::norms::LayerNorm::without_affine(16, 1e-6, &open.device);
        let maps = FeatureMaps {
            features: norm.forward(features.squeeze_dim(0)),
            stride4: stem[1].clone(),
            stride2: stem[0].clone(),
        };
        let logits = head.forward(golden_tensor("mask_hidden", &open), &maps);
        assert_eq!(logits.dims(), [2, 16, 16]);
        let logits = floats(logits).await;
        assert_close("logits", &logits, &golden(EXPECTED, "mask_logits"), TOLERANCE);

        let large = golden(EXPECTED, "mask_logits_full_size");
        let first = MaskLogits::new(logits[..256].to_vec(), 16).expect("fills");
        let at = |i: usize| (f64::from(i as u32) + 0.5) / f64::from(SIDE);
        let ours: Vec<f32> = (0..32 * 32).map(|i| first.at(at(i % 32), at(i / 32))).collect();
        assert_close("full size", &ours, &large[..32 * 32], TOLERANCE);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn layout_equals_pytorch() {
    let config = config();
    let settings = config.detokenizer.expect("has one");
    for open in devices().await {
        let detok = Detokenizer::load(&mut tiny_store(&open), &settings, &config.vision, 8).expect("loads");
        let tokens = golden(DETOK, "tokens");
        let tokens = matrix(&tokens, [tokens.len() / 8, 8], &open.device);
        let layout = floats(detok.layout(tokens).expect("has a block")).await;
        assert_close("layout", &layout, &golden(DETOK, "layout"), TOLERANCE);
    }
}

// --- tasks

fn asked(task: &str) -> String {
    let asked: serde_json::Value = serde_json::from_str(ASKED).expect("JSON");
    asked[task]["words"].as_str().expect("words").to_owned()
}

/// As `training/fixtures/multimodal.py` has it: greedy, drawn from no noise, and no words where a picture is wanted.
fn options() -> AnswerOptions {
    let diffusion = DiffusionOptions { steps: 5, guidance: 2.0, temperature: 0.0, seed: 0 };
    AnswerOptions { max_tokens: 12, diffusion, required: true, ..AnswerOptions::default() }
}

fn task_golden(task: &str, name: &str) -> Vec<i32> {
    golden_integers(TASKS, &format!("{task}.{name}"))
}

fn task_picture(task: &str, name: &str) -> Image {
    golden_picture(TASKS, &format!("{task}.{name}"))
}

/// More than one step of 8 bits is not rounding.
fn assert_same_picture(ours: &Image, theirs: &Image) {
    assert_eq!((ours.width(), ours.height()), (theirs.width(), theirs.height()));
    let off = ours.rgb().iter().zip(theirs.rgb()).map(|(a, b)| a.abs_diff(*b)).max().expect("pixels");
    assert!(off <= 1, "a pixel is off by {off}");
}

fn user(parts: Vec<Part>) -> Message {
    Message { role: Role::User, parts }
}

fn words(text: &str) -> Part {
    Part::Text(text.into())
}

/// What events tell, without waiting for anything.
async fn ignore(_: Event) {}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn segment_gives_pytorchs_mask() {
    for open in devices().await {
        let model = tiny_model(open);
        let encoded = model.encode_image(&task_picture("segment", "source")).await.expect("works");
        let segment = model.segment(&encoded, &asked("segment"), &options(), &NEVER, ignore).await.expect("works");
        let found = segment.mask.expect("PyTorch found something");
        let mask: Vec<u8> = found.mask.bits().iter().map(|&bit| bit.into()).collect();
        assert_eq!(mask, golden_bytes(TASKS, "segment.mask"));
        assert_close("score", &[found.score], &golden(TASKS, "segment.score"), TOLERANCE);
        let before = task_golden("segment", "ids").len() - 1;
        assert_eq!(segment.text.is_empty(), before == 0);
        assert_eq!(segment.usage.answer_tokens, before + 1);
        assert!(found.tokens.iter().all(|token| encoded.ids.contains(&token.id) && token.covered >= 0.5));
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn generate_draws_pytorchs_picture_token_by_token() {
    for open in devices().await {
        let model = tiny_model(open);
        let mut indices = Vec::new();
        let record = async |event: Event| {
            if let Event::VisualToken { index, copied } = event {
                assert_eq!(copied, None, "there is nothing to keep");
                indices.push(index);
            }
        };
        let made = model.generate(&asked("generate"), &options(), &NEVER, record).await.expect("works");
        let generated = made.image.expect("insisted");
        assert_eq!(indices, (0..generated.tokens.len()).collect::<Vec<_>>());
        assert_eq!(made.usage.visual_tokens, generated.tokens.len());
        assert_eq!(made.usage.answer_tokens, task_golden("generate", "ids").len());
        assert_close("tokens", &generated.values.concat(), &golden(TASKS, "generate.tokens"), DRAWN_TOLERANCE);
        let labels: Vec<i32> = generated.labels.iter().map(|&label| label as i32).collect();
        assert_eq!(labels, task_golden("generate", "labels"));
        assert_eq!(generated.tokens.iter().map(|token| token.patches).sum::<usize>(), labels.len());
        assert_same_picture(&generated.image, &task_picture("generate", "pixels"));
        assert_eq!(generated.label_map().expect("fits").get(0, 0), Some(generated.labels[0]));
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn edit_keeps_what_pytorch_keeps() {
    for open in devices().await {
        let model = tiny_model(open);
        let source = task_picture("edit", "source");
        let encoded = model.encode_image(&source).await.expect("works");
        let edit = async |options: AnswerOptions| {
            let edit = model.edit(&encoded, &asked("edit"), &options, &NEVER, ignore).await.expect("works");
            edit.image.expect("insisted")
        };
        let generated = edit(options()).await;
        let copied: Vec<i32> = generated.tokens.iter().map(|token| token.copied.map_or(-1, |id| id as i32)).collect();
        assert_eq!(copied, task_golden("edit", "kept"));
        assert_close("tokens", &generated.values.concat(), &golden(TASKS, "edit.tokens"), DRAWN_TOLERANCE);
        for (value, token) in generated.values.iter().zip(&generated.tokens) {
            if let Some(id) = token.copied {
                let slot = encoded.ids.iter().position(|&other| other == id).expect("a token of the source");
                assert_eq!(*value, encoded.tokens[slot], "a kept token is an exact copy");
                assert!(!generated.removed.contains(&id));
            }
        }
        assert_same_picture(&generated.image, &task_picture("edit", "pasted"));

        let whole = edit(AnswerOptions { composite: false, ..options() }).await;
        assert_same_picture(&whole.image, &task_picture("edit", "pixels"));
        let anew = edit(AnswerOptions { copy_tokens: false, ..options() }).await;
        assert!(anew.tokens.iter().all(|token| token.copied.is_none()));
        assert_eq!(anew.removed.len(), encoded.ids.len());
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn chat_says_what_pytorch_says() {
    for open in devices().await {
        let model = tiny_model(open);
        let [first, second] = see_two(&model).await;
        let question = user(vec![Part::Image, Part::Image, words(&asked("chat"))]);
        let answer = model.chat(&[question], &[&first, &second], &options(), &NEVER, ignore).await.expect("works");
        let ids: Vec<u32> = task_golden("chat", "ids").iter().map(|&id| id as u32).collect();
        assert_eq!(answer.text(), tokenizer().decode(&ids));
        assert_eq!((answer.usage.answer_tokens, answer.usage.finish), (ids.len(), Finish::Length));
    }
}

// --- the loop

async fn see_two(model: &Setokim) -> [EncodedImage; 2] {
    let first = model.encode_image(&task_picture("chat", "source")).await.expect("works");
    [first, model.encode_image(&task_picture("chat", "second")).await.expect("works")]
}

async fn chat(model: &Setokim, messages: &[Message], images: &[&EncodedImage], max_tokens: usize) -> Result<Answer> {
    let options = AnswerOptions { max_tokens, ..options() };
    model.chat(messages, images, &options, &NEVER, ignore).await
}

/// Parts of an answer that can be compared.
fn told(answer: &Answer) -> Vec<String> {
    let part = |part: &AnswerPart| match part {
        AnswerPart::Text(text) => text.clone(),
        AnswerPart::Mask(mask) => format!("{mask:?}"),
        AnswerPart::Image(generated) => format!("{:?} {:?}", generated.values, generated.image.rgb()),
    };
    answer.parts.iter().map(part).collect()
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn text_is_spoken_in_pieces_that_make_up_the_answer() {
    let model = tiny_model(cpu().await);
    let [first, second] = see_two(&model).await;
    let question = user(vec![Part::Image, words("what is"), Part::Image, words(" ?")]);
    let (mut shown, mut done) = (String::new(), None);
    let record = async |event: Event| match event {
        Event::Text(text) => {
            assert!(!text.is_empty());
            shown += &text;
        }
        Event::Done(usage) => done = Some(usage),
        _ => {}
    };
    let answer = model.chat(&[question], &[&first, &second], &options(), &NEVER, record).await.expect("works");
    assert_eq!(shown, answer.text());
    assert_eq!(done, Some(answer.usage));
    assert!(answer.usage.answer_tokens <= 12);
    let expected =
        8 + tokenizer().encode("what is").expect("text").len() + tokenizer().encode(" ?").expect("text").len();
    assert_eq!(answer.usage.prompt_tokens, expected + first.tokens.len() + second.tokens.len());
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn the_same_request_gives_the_same_answer_whatever_came_before() {
    for open in devices().await {
        let model = tiny_model(open);
        let [first, second] = see_two(&model).await;
        let mut messages = vec![user(vec![Part::Image, words("where is the dog ?")])];
        let opening = chat(&model, &messages, &[&first], 6).await.expect("works");
        assert_eq!(opening.usage.cached_tokens, 0);
        messages.push(Message::text(Role::Assistant, "at the top"));
        messages.push(user(vec![Part::Image, words("and here ?")]));

        let warm = chat(&model, &messages, &[&first, &second], 10).await.expect("works");
        assert_eq!(warm.usage.cached_tokens, opening.usage.prompt_tokens, "the first turn is not read again");
        let other = chat(&model, &[Message::text(Role::User, "hello")], &[], 6).await.expect("works");
        assert_eq!(other.usage.cached_tokens, 0);
        let cold = chat(&model, &messages, &[&first, &second], 10).await.expect("works");
        assert_eq!(cold.usage.cached_tokens, 0);
        let again = chat(&model, &messages, &[&first, &second], 10).await.expect("works");
        assert!(again.usage.cached_tokens > 0);
        assert_eq!(told(&warm), told(&cold), "remembered turns change nothing");
        assert_eq!(told(&warm), told(&again), "the same request twice");

        // Another image in the same words is another prompt.
        let swapped = chat(&model, &messages, &[&second, &first], 10).await.expect("works");
        assert_eq!(swapped.usage.cached_tokens, 0);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn an_abort_takes_effect_within_one_token_and_leaves_no_trace() {
    let model = tiny_model(cpu().await);
    let prompt = asked("generate");
    let draw =
        async || model.generate(&prompt, &options(), &NEVER, ignore).await.expect("works").image.expect("insisted");
    let expected = draw().await;
    let abort = AtomicBool::new(false);
    let mut encoded = 0;
    let stop_at_the_first = async |event: Event| {
        if let Event::VisualToken { .. } = event {
            encoded += 1;
            abort.store(true, Ordering::Relaxed);
        }
    };
    let aborted = model.generate(&prompt, &options(), &abort, stop_at_the_first).await;
    assert_eq!(aborted.expect_err("was aborted").code(), "aborted");
    assert_eq!(encoded, 1);
    let again = draw().await;
    assert_eq!(again.values, expected.values);
    assert_eq!(again.image, expected.image);

    let before = AtomicBool::new(true);
    let aborted = model.generate(&prompt, &options(), &before, ignore).await;
    assert_eq!(aborted.expect_err("was aborted").code(), "aborted");
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_seed_decides_the_noise() {
    let model = tiny_model(cpu().await);
    let prompt = asked("generate");
    let draw = async |seed| {
        let diffusion = DiffusionOptions { seed, temperature: 1.0, ..options().diffusion };
        let options = AnswerOptions { diffusion, ..options() };
        model.generate(&prompt, &options, &NEVER, ignore).await.expect("works").image.expect("insisted").values
    };
    assert_eq!(draw(1).await, draw(1).await);
    assert_ne!(draw(1).await, draw(2).await);
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn pictures_and_their_places_must_match() {
    let model = tiny_model(cpu().await);
    let [first, second] = see_two(&model).await;
    let one_place = [user(vec![Part::Image, words("what is this ?")])];
    for images in [&[][..], &[&first, &second][..]] {
        assert_eq!(chat(&model, &one_place, images, 4).await.expect_err("does not match").code(), "prompt-invalid");
    }
    chat(&model, &one_place, &[&first], 4).await.expect("matches, and the errors left nothing behind");
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn typed_control_tokens_stay_text() {
    let model = tiny_model(cpu().await);
    let language = model.language().expect("has one");
    let special = config().special_tokens.expect("has them");
    let spelled = "<end> <assistant> [Img] [/Img] <vis> [SEG] <keep_0> <bos>";
    let turns = language.turns(&[Message::text(Role::User, spelled)], &[]).expect("text");
    let positions = turns.concat();
    let (control, text) = ([special.begin, special.user], &positions[2..positions.len() - 2]);
    assert_eq!(positions[..2], control.map(Position::Word));
    for position in text {
        let Position::Word(id) = position else { panic!("there is no picture") };
        assert!(*id >= special.keep_first + special.keep_count, "{id} is a control token");
    }
    // An image is where it is put, not where it is spelled.
    let answer = chat(&model, &[Message::text(Role::User, spelled)], &[], 4).await;
    assert!(answer.is_ok());
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn requests_that_make_no_sense_are_typed_errors() {
    let model = tiny_model(cpu().await);
    let [first, _] = see_two(&model).await;
    let code = |error: Error| error.code();
    let none: [Message; 0] = [];
    assert_eq!(chat(&model, &none, &[], 4).await.map_err(code).err(), Some("prompt-invalid"));
    let blank = [Message::text(Role::User, "  ")];
    assert_eq!(chat(&model, &blank, &[], 4).await.map_err(code).err(), Some("prompt-invalid"));
    let beside_a_picture = [user(vec![Part::Image, Part::Text(" ".into())])];
    assert_eq!(chat(&model, &beside_a_picture, &[&first], 4).await.map_err(code).err(), Some("prompt-invalid"));
    let picture_alone = [user(vec![Part::Image])];
    chat(&model, &picture_alone, &[&first], 4).await.expect("a picture may come without words");
    let answered = [Message::text(Role::User, "hi"), Message::text(Role::Assistant, "hello")];
    assert_eq!(chat(&model, &answered, &[], 4).await.map_err(code).err(), Some("prompt-invalid"));
    let system = [Message::text(Role::System, "be kind"), Message::text(Role::User, "hi")];
    assert_eq!(chat(&model, &system, &[], 4).await.map_err(code).err(), Some("unsupported"));

    let empty = model.segment(&first, " ", &options(), &NEVER, ignore).await;
    assert_eq!(empty.map_err(code).err(), Some("prompt-invalid"));
    let empty = model.edit(&first, "", &options(), &NEVER, ignore).await;
    assert_eq!(empty.map_err(code).err(), Some("prompt-invalid"));
    let no_steps = AnswerOptions { diffusion: DiffusionOptions { steps: 0, ..options().diffusion }, ..options() };
    let drawn = model.generate("a dog", &no_steps, &NEVER, ignore).await;
    assert_eq!(drawn.map_err(code).err(), Some("setting-invalid"));

    let long = "the dog and ".repeat(60);
    match chat(&model, &[Message::text(Role::User, long)], &[], 4).await {
        Err(Error::ContextOverflow { needed, available }) => assert!(needed > available && available == 128),
        other => panic!("expected an overflow, got {other:?}"),
    }
    chat(&model, &[Message::text(Role::User, "hi")], &[], 4).await.expect("the next request works");
    let silent = Message { role: Role::Assistant, parts: Vec::new() };
    let after_silence = [Message::text(Role::User, "hi"), silent, Message::text(Role::User, "well ?")];
    chat(&model, &after_silence, &[], 4).await.expect("an assistant may have had nothing to say");
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_margin_decides_between_a_picture_and_words_unless_only_a_picture_may_come() {
    for (picture_margin, draws) in [(-1e3, true), (1e3, false)] {
        let open = cpu().await;
        let config = SetokimConfig { picture_margin, ..config() };
        let model = Setokim::load_with_text(config, tiny_store(&open), tokenizer(), open).expect("the model");
        let [first, _] = see_two(&model).await;
        let may_refuse = AnswerOptions { required: false, ..options() };
        let edit = model.edit(&first, "remove the dog", &may_refuse, &NEVER, ignore).await.expect("works");
        let begins_with_a_picture = edit.image.is_some() && edit.text.is_empty();
        assert_eq!(begins_with_a_picture, draws);
        let edit = model.edit(&first, "remove the dog", &options(), &NEVER, ignore).await.expect("works");
        assert!(edit.image.is_some());
    }
}

/// Its weights are random, so what it says means nothing; but it would rather say something than draw.
#[wasm_bindgen_test(unsupported = tokio::test)]
async fn words_take_the_place_of_a_drawing_unless_it_is_insisted_on() {
    let model = tiny_model(cpu().await);
    for required in [false, true] {
        let options = AnswerOptions { required, ..options() };
        let made = model.generate("a dog", &options, &NEVER, ignore).await.expect("works");
        assert_eq!((made.image.is_some(), made.text.is_empty()), (required, required));
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn only_a_refusal_takes_the_place_of_a_drawing_where_the_config_names_some() {
    let messages = [Message::text(Role::User, "hello")];
    let mut chats = Vec::new();
    for (refusals, are_meant) in [(vec![], false), (vec!["i can not".into(), "there is no".into()], true)] {
        let open = cpu().await;
        let config = SetokimConfig { picture_margin: 1e3, refusals, ..config() }; // it would rather speak
        let model = Setokim::load_with_text(config, tiny_store(&open), tokenizer(), open).expect("the model");
        let [first, _] = see_two(&model).await;
        let may_refuse = AnswerOptions { required: false, max_tokens: 16, ..options() };
        let edit = model.edit(&first, "remove the dog", &may_refuse, &NEVER, ignore).await.expect("works");
        let is_refusal = ["i can not", "there is no"].iter().any(|refusal| edit.text.starts_with(refusal));
        assert_eq!((is_refusal, edit.text.is_empty()), (are_meant, false), "{}", edit.text);
        chats.push(chat(&model, &messages, &[], 8).await.expect("works").text());
    }
    assert_eq!(chats[0], chats[1], "a chat may say anything");
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn the_limit_and_stop_strings_end_an_answer() {
    let model = tiny_model(cpu().await);
    let messages = [Message::text(Role::User, "hello")];
    let nothing = chat(&model, &messages, &[], 0).await.expect("works");
    assert!(nothing.parts.is_empty());
    let answer = chat(&model, &messages, &[], 3).await.expect("works");
    assert!(answer.usage.answer_tokens <= 3);
    assert_eq!(answer.usage.finish == Finish::Length, answer.usage.answer_tokens == 3);
    let text = answer.text();
    if let Some(first) = text.chars().next() {
        let options = AnswerOptions { stop: vec![first.to_string()], ..options() };
        let stopped = model.chat(&messages, &[], &options, &NEVER, ignore).await.expect("works");
        assert_eq!((stopped.text().as_str(), stopped.usage.finish), ("", Finish::Stop));
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_drawn_picture_and_a_mask_can_be_talked_about() {
    let model = tiny_model(cpu().await);
    let generated = model.generate(&asked("generate"), &options(), &NEVER, ignore).await.expect("works").image;
    let generated = generated.expect("insisted");
    let drawn = generated.to_encoded();
    let messages = [
        Message::text(Role::User, "draw a dog"),
        Message { role: Role::Assistant, parts: vec![Part::Image] },
        Message::text(Role::User, "segment the dog"),
        Message { role: Role::Assistant, parts: vec![Part::Mask] },
        Message::text(Role::User, "what is it ?"),
    ];
    let language = model.language().expect("has one");
    let special = config().special_tokens.expect("has them");
    let turns = language.turns(&messages, &[&drawn]).expect("valid");
    assert_eq!(turns.len(), 3);
    assert!(turns.iter().all(|turn| turn.last() == Some(&Position::Word(special.assistant))));
    assert_eq!(turns[1][0], Position::Word(special.image_start));
    assert_eq!(turns[1][1], Position::Visual { slot: 0, token: generated.values[0].clone() });
    assert_eq!(turns[2][..2], [Position::Word(special.segment), Position::Word(special.end)]);
    chat(&model, &messages, &[&drawn], 6).await.expect("works");
    // Nobody has looked at the generated yet: the mask head does so now.
    model.segment(&drawn, "the dog", &options(), &NEVER, ignore).await.expect("works");
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_tokenizer_alone_says_that_it_cannot_talk() {
    let open = cpu().await;
    let model = Setokim::load(config(), tiny_store(&open), open).expect("loads without a language model");
    assert_eq!(chat(&model, &[Message::text(Role::User, "hi")], &[], 4).await.expect_err("no").code(), "unsupported");
    let image = task_picture("edit", "source");
    assert_eq!(model.encode_image(&image).await.expect_err("no").code(), "unsupported");
    model.tokenize(&image).await.expect("pictures still work");
    assert_eq!(model.tasks(), ["tokenize", "reconstruct"]);
    let whole = tiny_model(cpu().await);
    assert_eq!(whole.tasks(), ["tokenize", "reconstruct", "chat", "segment", "generate", "edit"]);
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn parts_that_do_not_belong_together_are_refused() {
    let open = cpu().await;
    let load = |json: &str| {
        let config = SetokimConfig::from_json(json)?;
        Language::load(&config, &mut tiny_store(&open), tokenizer()).map(|_| ())
    };
    let code = |json: String| load(&json).map_err(|error| error.code()).err();
    assert_eq!(code(CONFIG.into()), None);
    assert_eq!(code(CONFIG.replace("\"segment\": 8", "\"segment\": 7")), Some("config-invalid"));
    assert_eq!(code(CONFIG.replace("\"keep_count\": 16", "\"keep_count\": 4")), Some("config-invalid"));
    assert_eq!(code(CONFIG.replace("\"special_tokens\"", "\"other\"")), Some("config-invalid"));
    assert_eq!(
        code(CONFIG.replace("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3")),
        Some("config-invalid")
    );
    assert_eq!(code(CONFIG.replace("\"vocab_size\": 320", "\"vocab_size\": 300")), Some("tokenizer-invalid"));
    let crop = Crop { x: 0.0, y: 0.0, width: 32.0, height: 32.0 };
    let all = MaskLogits::new(vec![1.0; 4], 2).expect("fills").to_mask(&crop, SIDE, SIDE).expect("a mask");
    assert_eq!(all.area(), 32 * 32);
}
