//! A GGUF file under Hugging Face names.

use std::borrow::Cow;

use burn::tensor::{Device, Tensor, TensorData};

use super::config::LlamaConfig;
use super::source::WeightSource;
use crate::formats::gguf::{Gguf, RawTensor};
use crate::kernels::quant_matmul::Activations;
use crate::nn::linear::Linear;
use crate::{Error, Result};

/// Hugging Face name and llama.cpp name of what stands outside the layers.
const OUTSIDE: [(&str, &str); 3] = [
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
];

/// The same inside a layer, where the names begin with `model.layers.I.` and `blk.I.`.
const INSIDE: [(&str, &str); 9] = [
    ("input_layernorm.weight", "attn_norm.weight"),
    ("self_attn.q_proj.weight", "attn_q.weight"),
    ("self_attn.k_proj.weight", "attn_k.weight"),
    ("self_attn.v_proj.weight", "attn_v.weight"),
    ("self_attn.o_proj.weight", "attn_output.weight"),
    ("post_attention_layernorm.weight", "ffn_norm.weight"),
    ("mlp.gate_proj.weight", "ffn_gate.weight"),
    ("mlp.up_proj.weight", "ffn_up.weight"),
    ("mlp.down_proj.weight", "ffn_down.weight"),
];

/// The tensors of a GGUF file, by the names of Hugging Face.
pub struct GgufSource<'a, 'file> {
    gguf: &'a Gguf<'file>,
    config: &'a LlamaConfig,
    activations: Activations,
    device: &'a Device,
}

impl<'a, 'file> GgufSource<'a, 'file> {
    /// Tensors for a model of these sizes, to be put on `device`.
    pub fn new(gguf: &'a Gguf<'file>, config: &'a LlamaConfig, activations: Activations, device: &'a Device) -> Self {
        Self { gguf, config, activations, device }
    }

    /// A tensor in Hugging Face's order, as it is stored.
    pub fn tensor(&self, name: &str) -> Result<RawTensor<'file>> {
        let stored = gguf_name(name).ok_or_else(|| Error::TensorMissing(name.to_owned()))?;
        in_rotate_half_order(self.gguf.tensor(&stored)?, name, self.config)
    }
}

/// The names of all weights of a model, Hugging Face's.
pub fn weight_names(config: &LlamaConfig) -> Vec<String> {
    let outside = OUTSIDE.iter().map(|(name, _)| (*name).to_owned());
    let outside = outside.filter(|name| !(config.tie_word_embeddings && name == "lm_head.weight"));
    let layers = 0..config.num_hidden_layers;
    let inside = layers.flat_map(|layer| INSIDE.iter().map(move |(name, _)| format!("model.layers.{layer}.{name}")));
    outside.chain(inside).collect()
}

impl WeightSource for GgufSource<'_, '_> {
    fn linear(&mut self, name: &str, rows: usize, columns: usize) -> Result<Linear> {
        let raw = self.tensor(name)?;
        raw.check_shape(name, &[rows, columns])?;
        Ok(Linear::from_raw(&raw, rows, columns, self.activations, self.device))
    }

    fn vector(&mut self, name: &str, width: usize) -> Result<Tensor<1>> {
        let raw = self.tensor(name)?;
        raw.check_shape(name, &[width])?;
        Ok(Tensor::from_data(TensorData::new(raw.to_f32(), [width]), self.device))
    }

    fn rope_divisors(&self) -> Result<Option<Vec<f32>>> {
        match self.gguf.tensor("rope_freqs.weight") {
            Ok(raw) => Ok(Some(raw.to_f32())),
            Err(Error::TensorMissing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// llama.cpp's name for Hugging Face's.
pub(crate) fn gguf_name(name: &str) -> Option<String> {
    if let Some((_, stored)) = OUTSIDE.iter().find(|(outside, _)| *outside == name) {
        return Some((*stored).to_owned());
    }
    let (layer, inside) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (_, stored) = INSIDE.iter().find(|(name, _)| *name == inside)?;
    Some(format!("blk.{layer}.{stored}"))
}

/// A query or key matrix in Hugging Face's order, and every other tensor as it is. `name` is Hugging Face's.
pub(crate) fn in_rotate_half_order<'a>(raw: RawTensor<'a>, name: &str, config: &LlamaConfig) -> Result<RawTensor<'a>> {
    if name.ends_with("q_proj.weight") {
        rotate_half_order(raw, name, config.num_attention_heads)
    } else if name.ends_with("k_proj.weight") {
        rotate_half_order(raw, name, config.num_key_value_heads)
    } else {
        Ok(raw)
    }
}

/// llama.cpp's converter stores the rows of a query or key head so that the two numbers that are turned together are
/// neighbours (row `2 i + j` of a head was row `j * head_dim / 2 + i`). Whole rows move, so packed weights stay exact.
fn rotate_half_order<'a>(raw: RawTensor<'a>, name: &str, heads: usize) -> Result<RawTensor<'a>> {
    let RawTensor { kind, shape, bytes } = raw;
    let rows = shape.first().copied().unwrap_or(0);
    if rows == 0 || !rows.is_multiple_of(2 * heads) {
        return Err(Error::Gguf(format!("the rows of `{name}` do not divide into {heads} heads of pairs")));
    }
    let (row_bytes, pairs) = (bytes.len() / rows, rows / heads / 2);
    let mut ordered = Vec::with_capacity(bytes.len());
    for head in 0..heads {
        for half in 0..2 {
            for pair in 0..pairs {
                let row = (head * pairs + pair) * 2 + half;
                ordered.extend_from_slice(&bytes[row * row_bytes..][..row_bytes]);
            }
        }
    }
    Ok(RawTensor { kind, shape, bytes: Cow::Owned(ordered) })
}
