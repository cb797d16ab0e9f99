//! A photo model: trained parts (`training/photo/`), the EfficientNet-Lite that they were trained with, and the language model
//! that stays as its GGUF file has it.

use std::borrow::Cow;
use std::path::Path;
use std::rc::Rc;

use serde_json::{Value, json};

use super::assembled::{LanguageSource, language_of_gguf, le_bytes};
use super::files::{tensors_of_folder, tensors_of_safetensors, tensors_of_torch};
use super::heads::random_heads;
use super::{Draft, Lazy, Tensors};
use crate::formats::blocks::WeightKind;
use crate::formats::gguf::RawTensor;
use crate::model::config::{EfficientNetConfig, SetokimConfig, VisionConfig};
use crate::model::folder::read_config;
use crate::model::llm::{LlamaConfig, in_rotate_half_order};
use crate::{Error, Result};

/// Of the batch norms in an EfficientNet checkpoint of PyTorch.
const BATCH_NORM_EPS: f32 = 1e-3;

/// `trained` is a folder as `training.photo.export` writes it, `language` a GGUF file, `encoder` a PyTorch checkpoint of an
/// EfficientNet-Lite, or a safetensors file that has it folded already.
///
/// # Errors
/// [`Error::Convert`] where the parts do not belong together; [`Error::Config`], [`Error::Gguf`], [`Error::Tokenizer`] for a
/// model that this library cannot run; [`Error::Shard`], [`Error::TensorMissing`], [`Error::Io`].
pub(crate) fn draft_from_photo_parts(trained: &Path, language: &Path, encoder: &Path, seed: u64) -> Result<Draft> {
    let LanguageSource { config: llm, tokenizer, tensors: language } = language_of_gguf(language)?;
    let (text, config) = config_with(&read_config(trained)?, &llm)?;
    let VisionConfig::EfficientNet(net) = &config.vision else {
        return Err(Error::Convert(format!("`{}` is not a photo model: it has another encoder", trained.display())));
    };

    let mut tensors = tensors_of_folder(trained)?;
    for (name, read) in &mut tensors {
        if let Some(order) = row_order(name) {
            *read = reordered(Rc::clone(read), order, llm.clone());
        }
    }
    tensors.extend(encoder_tensors(encoder, net)?);
    tensors.extend(language.into_iter().map(|(name, read)| (format!("llm.{name}"), read)));
    let mut notes = Vec::new();
    if !tensors.contains_key("projector.fc1.weight") {
        let heads = random_heads(&config, seed)?;
        tensors.extend(heads.into_iter().filter(|(name, _)| name.starts_with("projector.")));
        notes.push(format!(
            "random, from seed {seed}, until it is trained: the projector; what is said of images means nothing"
        ));
    }
    Ok(Draft { config: text, tokenizer: Some(tokenizer), tensors, notes })
}

/// The trained parts' config with the sizes of the language model.
fn config_with(trained: &str, llm: &LlamaConfig) -> Result<(String, SetokimConfig)> {
    let invalid = |error: serde_json::Error| Error::Config(error.to_string());
    let mut config: Value = serde_json::from_str(trained).map_err(invalid)?;
    let Some(entries) = config.as_object_mut() else {
        return Err(Error::Config("it is not an object".into()));
    };
    entries.insert("llm".into(), serde_json::to_value(llm).map_err(invalid)?);
    entries.entry("chat").or_insert_with(|| json!({ "template": "chat_ml" }));
    let text = serde_json::to_string_pretty(&config).map_err(invalid)? + "\n";
    let config = SetokimConfig::from_json(&text)?;
    Ok((text, config))
}

/// Adapters of queries and keys have their rows in the GGUF file's order; those of a bundle's matrices are Hugging Face's.
fn row_order(name: &str) -> Option<&'static str> {
    match name.split('.').collect::<Vec<_>>()[..] {
        ["adapters", _, "q", "b"] => Some("q_proj.weight"),
        ["adapters", _, "k", "b"] => Some("k_proj.weight"),
        _ => None,
    }
}

fn reordered(read: Lazy, order: &'static str, llm: LlamaConfig) -> Lazy {
    Rc::new(move || in_rotate_half_order(read()?, order, &llm))
}

fn encoder_tensors(path: &Path, net: &EfficientNetConfig) -> Result<Tensors> {
    if path.extension().is_some_and(|extension| extension == "safetensors") {
        let mut tensors = tensors_of_safetensors(path)?;
        tensors.retain(|name, _| name.starts_with("encoder."));
        return Ok(tensors);
    }
    folded(&tensors_of_torch(path, None)?, net)
}

/// The convolutions of a checkpoint of `efficientnet-lite-pytorch`, each with the batch norm that follows it: a norm of
/// fixed numbers is a factor and a summand for every channel.
fn folded(checkpoint: &Tensors, net: &EfficientNetConfig) -> Result<Tensors> {
    let take = |name: String| match checkpoint.get(&name) {
        Some(read) => Ok(Rc::clone(read)),
        None => Err(Error::TensorMissing(name)),
    };
    let mut tensors = Tensors::new();
    let mut fold = |ours: String, conv: String, norm: String| -> Result<()> {
        let weight = take(format!("{conv}.weight"))?;
        let [scale, bias, mean, variance] =
            ["weight", "bias", "running_mean", "running_var"].map(|part| take(format!("{norm}.{part}")));
        let norm = Rc::new(BatchNorm { scale: scale?, bias: bias?, mean: mean?, variance: variance? });
        let (for_weight, for_bias) = (Rc::clone(&norm), norm);
        tensors.insert(format!("{ours}.weight"), Rc::new(move || for_weight.scaled(&weight()?)));
        tensors.insert(format!("{ours}.bias"), Rc::new(move || for_bias.summand()));
        Ok(())
    };
    fold("encoder.stem".into(), "_conv_stem".into(), "_bn0".into())?;
    let expansions = net.stages.iter().flat_map(|stage| std::iter::repeat_n(stage.expansion, stage.repeats));
    for (i, expansion) in expansions.enumerate() {
        let (ours, theirs) = (format!("encoder.blocks.{i}"), format!("_blocks.{i}"));
        if expansion > 1 {
            fold(format!("{ours}.expand"), format!("{theirs}._expand_conv"), format!("{theirs}._bn0"))?;
        }
        fold(format!("{ours}.depthwise"), format!("{theirs}._depthwise_conv"), format!("{theirs}._bn1"))?;
        fold(format!("{ours}.project"), format!("{theirs}._project_conv"), format!("{theirs}._bn2"))?;
    }
    fold("encoder.head".into(), "_conv_head".into(), "_bn1".into())?;
    for part in ["weight", "bias"] {
        tensors.insert(format!("encoder.classifier.{part}"), take(format!("_fc.{part}"))?);
    }
    Ok(tensors)
}

/// `(x - mean) / sqrt(variance + eps) * scale + bias`, channel by channel.
struct BatchNorm {
    scale: Lazy,
    bias: Lazy,
    mean: Lazy,
    variance: Lazy,
}

impl BatchNorm {
    fn factors(&self) -> Result<Vec<f32>> {
        let (scale, variance) = ((self.scale)()?.to_f32(), (self.variance)()?.to_f32());
        Ok(scale.iter().zip(variance).map(|(scale, variance)| scale / (variance + BATCH_NORM_EPS).sqrt()).collect())
    }

    /// The weight of the convolution before it, `[O, ..]`.
    fn scaled(&self, weight: &RawTensor<'_>) -> Result<RawTensor<'static>> {
        let (factors, mut values) = (self.factors()?, weight.to_f32());
        if factors.is_empty() || weight.shape.first() != Some(&factors.len()) {
            return Err(Error::Convert(format!("a batch norm of {} follows {:?}", factors.len(), weight.shape)));
        }
        for (row, factor) in values.chunks_exact_mut(weight.shape[1..].iter().product()).zip(factors) {
            row.iter_mut().for_each(|value| *value *= factor);
        }
        Ok(floats(weight.shape.clone(), &values))
    }

    /// What it adds.
    fn summand(&self) -> Result<RawTensor<'static>> {
        let (bias, mean) = ((self.bias)()?.to_f32(), (self.mean)()?.to_f32());
        let values: Vec<f32> =
            bias.iter().zip(mean).zip(self.factors()?).map(|((bias, mean), factor)| bias - mean * factor).collect();
        Ok(floats(vec![values.len()], &values))
    }
}

fn floats(shape: Vec<usize>, values: &[f32]) -> RawTensor<'static> {
    RawTensor { kind: WeightKind::F32, shape, bytes: Cow::Owned(le_bytes(values)) }
}
