//! The language model against numbers made without it: logits by NumPy, tokens by llama.cpp, packed products by plain
//! loops. The fixtures come from `training/fixtures/gguf_files.py`.
#![allow(clippy::unwrap_used, reason = "a test may end with the error that it meets")]

mod cache;
mod completion;
mod packed_products;
mod text;
mod weights;

use crate::common::{assert_close, cpu, floats, gpu, matrix, noise, vector};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use setokim::formats::blocks::WeightKind;
use setokim::formats::gguf::Gguf;
use setokim::kernels::epilogue::{Activation, Epilogue, Norm};
use setokim::kernels::quant_matmul::{
    Activations, PackedShape, pack, quant_matmul, quant_matmul_reference, quant_rows, quant_rows_reference,
};
use setokim::kernels::{Gelu, gelu_reference, rms_norm_reference, swiglu_reference};
use setokim::model::complete::{CompleteOptions, complete};
use setokim::model::decode::Finish;
use setokim::model::llm::TokenMask;
use setokim::model::llm::{GgufSource, KvCache, Llama, LlamaConfig};
use setokim::model::sampler::{Sampler, Sampling};
use setokim::nn::tensor_store::TensorStore;
use setokim::text::template::names;
use setokim::text::{ChatTemplate, Message, Part, PromptPiece, Role, Tokenizer};
use setokim::{AbortHandle, Error};
use std::collections::BTreeMap;
use std::sync::Arc;
use wasm_bindgen_test::wasm_bindgen_test;

const TINY: &[u8] = include_bytes!("../../fixtures/tiny.gguf");
const EXPECTED: &[u8] = include_bytes!("../../fixtures/tiny_gguf_logits.safetensors");
const PROMPT: &str = "It's 2024: the café";

/// Logits are below 10 and pass through two layers in f32; NumPy's are float64.
const LOGIT_TOLERANCE: f32 = 1e-4;

/// The likeliest tokens, so many at the most.
fn greedy(max_tokens: usize) -> CompleteOptions {
    CompleteOptions { max_tokens, sampling: Sampling::greedy(), ..CompleteOptions::default() }
}

struct Tiny {
    model: Llama,
    tokenizer: Tokenizer,
    ids: Vec<u32>,
    prompt: Vec<u32>,
    /// `[T, vocabulary]`
    logits: Vec<f32>,
}

fn tiny(device: &Device) -> Tiny {
    let gguf = Gguf::parse(TINY).unwrap();
    let expected = SafeTensors::deserialize(EXPECTED).unwrap();
    let ids = |name| -> Vec<u32> { bytemuck::pod_collect_to_vec(expected.tensor(name).unwrap().data()) };
    Tiny {
        model: Llama::from_gguf(&gguf, Activations::Exact, device).unwrap(),
        tokenizer: Tokenizer::from_gguf(&gguf).unwrap(),
        ids: ids("ids"),
        prompt: ids("prompt"),
        logits: bytemuck::pod_collect_to_vec(expected.tensor("logits").unwrap().data()),
    }
}

/// Logits of every position, `[T, vocabulary]`.
async fn all_logits(model: &Llama, cache: &mut KvCache, ids: &[u32]) -> Vec<f32> {
    let hidden = model.forward(model.embed(ids).unwrap(), cache).unwrap();
    floats(model.logits(hidden, None)).await
}
