//! A SigLIP tower and a LLaMA-family language model as one model. What would have to be learned to join them (merger,
//! projector, detokenizer, diffusion head) is random: a start for training, and a way to try real sizes.

use std::borrow::Cow;
use std::path::Path;
use std::rc::Rc;

use super::files::tensors_of_folder;
use super::heads::{random_heads, random_values};
use super::text::{add_controls, special_tokens, tokenizer_from_gguf};
use super::{Draft, Lazy, Precision, Tensors, encode};
use crate::formats::blocks::WeightKind;
use crate::formats::gguf::{Gguf, RawTensor};
use crate::model::config::{
    ClusterConfig, DetokenizerConfig, DiffusionConfig, MergerConfig, PreprocessConfig, SetokimConfig, SiglipConfig,
    VisionConfig,
};
use crate::model::folder::{read_config, read_tokenizer};
use crate::model::llm::{LlamaConfig, gguf_name, in_rotate_half_order, weight_names};
use crate::{Error, Result};

/// Width of a token where nothing has been learned that would decide it.
const TOKEN_WIDTH: usize = 256;

/// Standard deviation of the embeddings of new control tokens: that of a LLaMA before training.
const EMBEDDING_STD: f32 = 0.02;

/// A SigLIP folder and a language model: a Hugging Face LLaMA folder or a GGUF file.
///
/// # Errors
/// [`Error::Config`], [`Error::Gguf`], [`Error::Tokenizer`] for a model that this library cannot run, [`Error::Io`] and
/// what [`crate::model::folder`] says.
pub(crate) fn draft_from_parts(siglip: &Path, language: &Path, seed: u64) -> Result<Draft> {
    let mut config = SetokimConfig::from_json(&read_config(siglip)?)?;
    let VisionConfig::Siglip(tower) = config.vision.clone() else {
        return Err(Error::Convert(format!("`{}` is not a SigLIP folder", siglip.display())));
    };
    let language = if language.is_dir() { language_of_folder(language)? } else { language_of_gguf(language)? };
    let mut notes = vec![format!(
        "random, from seed {seed}, until they are trained: merger, projector, detokenizer, diffusion head, embeddings of \
         the control tokens"
    )];

    let known = special_tokens(ClusterConfig::default().max_clusters);
    let (tokenizer, special, vocabulary) = add_controls(&language.tokenizer, &known)?;
    let vocabulary = vocabulary.max(language.config.vocab_size);
    config.name = "assembled".into();
    config.preprocess = PreprocessConfig::default();
    config.merger = Some(MergerConfig {
        width: tower.hidden_size,
        heads: tower.num_attention_heads,
        mlp_ratio: 2,
        inner_depth: 1,
        inter_depth: 1,
        token_width: TOKEN_WIDTH,
        norm_eps: 1e-6,
        mlp_hidden: 0,
        shared_blocks: false,
        pooled_head: false,
    });
    config.diffusion =
        Some(DiffusionConfig { width: 512, depth: 3, timesteps: 1000, norm_eps: 1e-6, time_frequencies: 64 });
    if tower.image_size.is_multiple_of(tower.patch_size) {
        config.detokenizer = Some(DetokenizerConfig {
            width: 256,
            depth: 4,
            heads: 8,
            mlp_ratio: 2,
            refine_channels: 8,
            norm_eps: 1e-6,
            layer_size: 0,
            layer_width: 0,
        });
    } else {
        notes.push("no detokenizer: the tower's patches do not fill the picture".into());
    }
    notes.push("no mask head: it reads a convolutional stem, which a SigLIP tower has not".into());
    config.special_tokens = Some(special);
    config.llm = Some(LlamaConfig { vocab_size: vocabulary, ..language.config.clone() });

    let mut tensors = tensors_of_folder(siglip)?;
    tensors.retain(|name, _| is_read(&tower, name));
    tensors.extend(random_heads(&config, seed)?);
    for (name, read) in language.tensors {
        let is_table = ["model.embed_tokens.weight", "lm_head.weight"].contains(&name.as_str());
        let salt = name.clone();
        let new = move |count| random_values(&salt, count, EMBEDDING_STD, seed);
        let read = if is_table { with_new_rows(read, vocabulary, new) } else { read };
        tensors.insert(format!("llm.{name}"), read);
    }
    let config = serde_json::to_string_pretty(&config).map_err(|error| Error::Config(error.to_string()))? + "\n";
    Ok(Draft { config, tokenizer: Some(tokenizer), tensors, notes })
}

/// Whether a tower needs a tensor of its checkpoint: its embeddings, and the layers up to the one that is read.
pub(crate) fn is_read(tower: &SiglipConfig, name: &str) -> bool {
    let layers = tower.num_hidden_layers + 1 - tower.select_layer.unsigned_abs() as usize;
    let name = name.strip_prefix("vision_model.").unwrap_or(name);
    match name.split('.').collect::<Vec<_>>()[..] {
        ["embeddings", "patch_embedding", _] | ["embeddings", "position_embedding", "weight"] => true,
        ["encoder", "layers", layer, ..] => layer.parse().is_ok_and(|layer: usize| layer < layers),
        _ => false,
    }
}

/// A language model under Hugging Face's names.
pub(super) struct LanguageSource {
    pub config: LlamaConfig,
    pub tokenizer: Vec<u8>,
    pub tensors: Tensors,
}

fn language_of_folder(folder: &Path) -> Result<LanguageSource> {
    let config = LlamaConfig::from_json(&read_config(folder)?)?;
    let mut stored = tensors_of_folder(folder)?;
    let wanted = weight_names(&config).into_iter().map(|name| match stored.remove(&name) {
        Some(read) => Ok((name, read)),
        None => Err(Error::TensorMissing(name)),
    });
    Ok(LanguageSource { tensors: wanted.collect::<Result<_>>()?, tokenizer: read_tokenizer(folder)?, config })
}

pub(super) fn language_of_gguf(path: &Path) -> Result<LanguageSource> {
    let bytes = Rc::new(std::fs::read(path).map_err(|error| Error::io(path, error))?);
    let gguf = Gguf::parse(&bytes)?;
    if gguf.tensors().contains_key("rope_freqs.weight") {
        let message = "the GGUF file brings rotary speeds of its own; convert the Hugging Face folder of the model";
        return Err(Error::Convert(message.into()));
    }
    let config = LlamaConfig::from_gguf(&gguf)?;
    let wanted = weight_names(&config).into_iter().map(|name| {
        let missing = || Error::TensorMissing(name.clone());
        let stored = gguf_name(&name).ok_or_else(missing)?;
        let info = gguf.tensors().get(&stored).ok_or_else(missing)?.clone();
        let (bytes, config, hugging_face) = (Rc::clone(&bytes), config.clone(), name.clone());
        let read: Lazy =
            Rc::new(move || Ok(in_rotate_half_order(info.raw(&bytes), &hugging_face, &config)?.into_owned()));
        Ok((name, read))
    });
    Ok(LanguageSource { tensors: wanted.collect::<Result<_>>()?, tokenizer: tokenizer_from_gguf(&gguf)?, config })
}

/// A table with new rows at its end, in the type of the table where that can be written.
pub(crate) fn with_new_rows(read: Lazy, rows: usize, fill: impl Fn(usize) -> Vec<f32> + 'static) -> Lazy {
    Rc::new(move || {
        let mut table = read()?;
        let &[old, columns] = &table.shape[..] else {
            return Err(Error::Convert("an embedding table is not a matrix".into()));
        };
        let count = rows.saturating_sub(old);
        if count == 0 {
            return Ok(table);
        }
        let bytes = Cow::Owned(le_bytes(&fill(count * columns)));
        let new = RawTensor { kind: WeightKind::F32, shape: vec![count, columns], bytes };
        let precision = match table.kind {
            WeightKind::F32 => Precision::F32,
            WeightKind::Q8_0 => Precision::Q8,
            _ => Precision::F16,
        };
        let new = encode("rows.weight", new, precision)?;
        if new.kind != table.kind {
            table = encode("rows.weight", table, precision)?;
        }
        table.bytes.to_mut().extend_from_slice(&new.bytes);
        table.shape[0] = rows;
        Ok(table)
    })
}

pub(crate) fn le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
