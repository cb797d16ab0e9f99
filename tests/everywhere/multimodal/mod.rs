//! The language model with pictures against PyTorch (`training/fixtures/language_model.py` and `multimodal.py`): every
//! module alone, then the four tasks from pixels to answer; and what the loop promises whatever the weights.

mod answers;
mod modules;
mod requests;
mod tasks;

use crate::common::tiny_setokim::{CONFIG, config, model as tiny_model, store as tiny_store, tokenizer};
use crate::common::{assert_close, cpu, floats, gpu, matrix};
use burn::tensor::{DType, Tensor, TensorData};
use setokim::formats::safetensors::read_safetensors_f32;
use setokim::image::Image;
use setokim::image::preprocess::Crop;
use setokim::model::answer::AnswerOptions;
use setokim::model::config::SetokimConfig;
use setokim::model::decode::Finish;
use setokim::model::detok::Detokenizer;
use setokim::model::diffusion::{DiffusionHead, DiffusionOptions};
use setokim::model::encoded_image::EncodedImage;
use setokim::model::events::{Answer, AnswerPart, Event};
use setokim::model::feature_maps::{FeatureMaps, FinerMaps};
use setokim::model::language::{Language, Position};
use setokim::model::mask_head::{MaskHead, MaskLogits};
use setokim::model::projector::Projector;
use setokim::model::setokim::Setokim;
use setokim::model::vision::{VisionEncoder, VisionOutput};
use setokim::runtime::device::OpenDevice;
use setokim::text::Role;
use setokim::{AbortHandle, Error, Message, Part, Result};
use std::sync::Arc;
use wasm_bindgen_test::wasm_bindgen_test;

/// A dozen f32 layers in another order of summation, values near 1.
const TOLERANCE: f32 = 1e-4;

/// Five to twenty-five steps of denoising on top, each of which passes on what the one before was off by.
const DRAWN_TOLERANCE: f32 = 1e-3;

const TASKS: &[u8] = include_bytes!("../../fixtures/tasks_tiny.safetensors");
const ASKED: &str = include_str!("../../fixtures/tasks_tiny.json");

/// Side of the tiny model's square image.
const SIDE: u32 = 32;

async fn devices() -> [OpenDevice; 2] {
    [cpu().await, gpu().await]
}

fn golden(file: &[u8], name: &str) -> Vec<f32> {
    read_safetensors_f32(file, name).expect("in the fixture").1
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

fn asked(task: &str) -> String {
    let asked: serde_json::Value = serde_json::from_str(ASKED).expect("JSON");
    asked[task]["words"].as_str().expect("words").to_owned()
}

/// As `training/fixtures/multimodal.py` has it: greedy, drawn from no noise, and no words where a picture is wanted.
fn options() -> AnswerOptions {
    let diffusion = DiffusionOptions { steps: 5, guidance: 2.0, temperature: 0.0, seed: 0 };
    AnswerOptions { max_tokens: 12, diffusion, required: true, ..AnswerOptions::default() }
}

fn task_picture(task: &str, name: &str) -> Image {
    golden_picture(TASKS, &format!("{task}.{name}"))
}

fn user(parts: Vec<Part>) -> Message {
    Message { role: Role::User, parts }
}

fn words(text: &str) -> Part {
    Part::Text(text.into())
}

fn shown(image: &Arc<EncodedImage>) -> Part {
    Part::Image(image.clone())
}

async fn see_two(model: &Setokim) -> [Arc<EncodedImage>; 2] {
    let first = model.encode_image(&task_picture("chat", "source")).await.expect("works");
    [first, model.encode_image(&task_picture("chat", "second")).await.expect("works")]
}

async fn chat(model: &Setokim, messages: &[Message], max_tokens: usize) -> Result<Answer> {
    let options = AnswerOptions { max_tokens, ..options() };
    model.chat(messages, &options).await
}
