//! Hostile input to everything that reads what comes from outside: a right answer or a typed error, never a panic, a hang
//! or memory without bound. What once failed is saved in `tests/native/fuzz.regressions` and tried first.
//!
//! An ordinary run takes seconds; `PROPTEST_CASES=20000 cargo test --all-features --test native fuzz::` looks longer.
#![allow(clippy::unwrap_used, reason = "a test may end with the error that it meets")]

mod damage;
mod edges;
mod targets;
mod words;

use std::path::Path;
use std::sync::Arc;

use crate::common::tiny_setokim::{self, CONFIG, MANIFEST, SHARD, SHARD_NAME, TOKENIZER, tokenizer as tiny_tokenizer};
use burn::tensor::Device;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value, json};
use setokim::convert::{Precision, Precisions, SHARD_BYTES, SourceOptions, open_source, write_bundle};
use setokim::formats::gguf::Gguf;
use setokim::formats::manifest::Manifest;
use setokim::image::Image;
use setokim::image::preprocess::{Normalisation, ResizeFilter, ResizeMode, preprocess};
use setokim::kernels::quant_matmul::Activations;
use setokim::limits;
use setokim::model::answer::AnswerOptions;
use setokim::model::config::SetokimConfig;
use setokim::model::language::Position;
use setokim::model::llm::{Llama, LlamaConfig};
use setokim::model::setokim::Setokim;
use setokim::model::shard_loader::ShardLoader;
use setokim::nn::tensor_store::TensorStore;
use setokim::runtime::device::{DeviceKind, DeviceReport, OpenDevice};
use setokim::text::template::names;
use setokim::text::{self, ChatTemplate, PromptPiece, Role, Tokenizer};
use setokim::{EncodedImage, Message, Part};

const SHIPPED_TOKENIZER: &[u8] = include_bytes!("../../../models/setokim-tiny/tokenizer.json");
const SIGLIP: &str = include_str!("../../fixtures/siglip-tiny/config.json");
const SIGLIP_SHARD: &[u8] = include_bytes!("../../fixtures/siglip-tiny/model.safetensors");
const CHECKPOINT: &[u8] = include_bytes!("../../fixtures/tiny_checkpoint.pt");
const GGUF: &[u8] = include_bytes!("../../fixtures/tiny.gguf");

fn cpu() -> OpenDevice {
    let report = DeviceReport { device: DeviceKind::Cpu, reason: String::new(), adapter: None, self_test: None };
    OpenDevice { device: Device::flex(), report }
}

fn model() -> Setokim {
    tiny_setokim::model(cpu())
}

fn now<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn image(width: u32, height: u32) -> Image {
    let rgb = (0..width * height * 3).map(|at| (at * 7 % 251) as u8).collect();
    Image::from_rgb(rgb, width, height).unwrap()
}
