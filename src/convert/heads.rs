//! Random weights for the parts of a model that its sources do not have.

use std::borrow::Cow;
use std::rc::Rc;

use burn::tensor::Device;

use super::assembled::le_bytes;
use super::{Lazy, Tensors};
use crate::Result;
use crate::formats::blocks::WeightKind;
use crate::formats::gguf::RawTensor;
use crate::model::config::SetokimConfig;
use crate::model::detok::Detokenizer;
use crate::model::diffusion::{DiffusionHead, DiffusionOptions, Noise};
use crate::model::projector::Projector;
use crate::model::setok::SetokTokenizer;
use crate::nn::tensor_store::TensorStore;

/// Every tensor of merger, detokenizer, projector and diffusion head that `config` asks for, as a network has them before
/// training: matrices keep the size of what passes through them, norms do nothing, biases are 0.
pub(crate) fn random_heads(config: &SetokimConfig, seed: u64) -> Result<Tensors> {
    // The modules themselves say what they need, so that this list can never be another than theirs.
    let mut wanted = TensorStore::recording(&Device::flex());
    let token_width = config.merger.map_or(0, |merger| merger.token_width);
    SetokTokenizer::load(&mut wanted, config)?;
    if let Some(detokenizer) = &config.detokenizer {
        Detokenizer::load(&mut wanted, detokenizer, &config.vision, token_width)?;
    }
    if let Some(llm) = &config.llm {
        Projector::load(&mut wanted, token_width, llm.hidden_size)?;
        if let Some(diffusion) = &config.diffusion {
            DiffusionHead::load(&mut wanted, diffusion, token_width, llm.hidden_size)?;
        }
    }
    let tensors = wanted.into_recorded().into_iter().map(|(name, shape)| {
        let lazy = random_tensor(&name, &shape, seed);
        (name, lazy)
    });
    Ok(tensors.collect())
}

fn random_tensor(name: &str, shape: &[usize], seed: u64) -> Lazy {
    let (name, shape) = (name.to_owned(), shape.to_vec());
    Rc::new(move || {
        let count = shape.iter().product();
        let values = match shape[..] {
            [_] if name.ends_with(".std") || (name.contains("norm") && name.ends_with(".weight")) => vec![1.0; count],
            [_] => vec![0.0; count],
            // What is added, not multiplied with.
            _ if !name.ends_with(".weight") => random_values(&name, count, 0.02, seed),
            _ => random_values(&name, count, (shape[1..].iter().product::<usize>() as f32).powf(-0.5), seed),
        };
        Ok(RawTensor { kind: WeightKind::F32, shape: shape.clone(), bytes: Cow::Owned(le_bytes(&values)) })
    })
}

/// Normal numbers that follow from name and seed.
pub(crate) fn random_values(name: &str, count: usize, std: f32, seed: u64) -> Vec<f32> {
    // FNV-1a: the same on every machine.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    Noise::new(&DiffusionOptions { seed: seed ^ hash, temperature: std, ..DiffusionOptions::default() }).take(count)
}
