//! Checkpoints of other programs -> a model folder: `config.json`, `tokenizer.json`, shards and `manifest.json`. Native
//! only; docs/convert.md says what comes from where.
//!
//! A source becomes a [`Draft`]: our config, our names, and for each name a way to read its values. [`write_bundle`] then
//! reads one tensor after another, so that no model is in memory as a whole.

mod assembled;
mod bundle;
mod checkpoint;
mod files;
mod heads;
mod photo;
mod reference;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::Result;
use crate::formats::gguf::RawTensor;
use crate::model::folder::read_config;

pub use crate::formats::quantize::{Part, Precision, Precisions, encode};
pub use bundle::{Report, ReportRow, SHARD_BYTES, write_bundle};
pub use reference::LeftOut;

/// Reads a tensor when it is wanted, as it is stored.
pub(crate) type Lazy = Rc<dyn Fn() -> Result<RawTensor<'static>>>;

/// Tensors by name.
pub(crate) type Tensors = BTreeMap<String, Lazy>;

/// A model on its way into a bundle.
pub struct Draft {
    /// The text of `config.json`.
    pub config: String,
    /// The text of `tokenizer.json`, for a model that talks.
    pub tokenizer: Option<Vec<u8>>,
    /// By the names of our bundles.
    pub(crate) tensors: Tensors,
    /// What a person should know of the model: parts that are random, settings that could not be copied.
    pub notes: Vec<String>,
}

/// What a source alone does not say.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    /// The text of a `tokenizer.json`, for a source without one.
    pub tokenizer: Option<Vec<u8>>,
    /// For a SigLIP tower: the LLaMA to join it with, a Hugging Face folder or a GGUF file. For a photo model: its GGUF file.
    pub language: Option<PathBuf>,
    /// For the trained parts of a photo model: its EfficientNet-Lite, a PyTorch checkpoint or a safetensors file.
    pub encoder: Option<PathBuf>,
    /// Of what is random.
    pub seed: u64,
    /// Parts of a checkpoint of the reference code that are not wanted.
    pub left_out: Vec<LeftOut>,
}

/// Reads what `source` is: a checkpoint of `training/`; a folder of ours, of the reference code, or a SigLIP tower;
/// with an encoder, the trained parts of a photo model.
///
/// # Errors
/// [`crate::Error::Convert`] for something else, for a language model without a tokenizer, and for a part of the reference code
/// that has no counterpart; [`crate::Error::Config`], [`crate::Error::Gguf`], [`crate::Error::Tokenizer`] for models that this library cannot
/// run; [`crate::Error::Io`], and what [`crate::model::folder`] says.
pub fn open_source(source: &Path, options: SourceOptions) -> Result<Draft> {
    if let (Some(language), Some(encoder)) = (&options.language, &options.encoder) {
        return photo::draft_from_photo_parts(source, language, encoder, options.seed);
    }
    if let Some(language) = &options.language {
        return assembled::draft_from_parts(source, language, options.seed);
    }
    if !source.is_dir() {
        return checkpoint::draft_from_checkpoint(source, options.tokenizer);
    }
    match reference::is_reference(&read_config(source)?) {
        true => reference::draft_from_reference(source, options.tokenizer, &options.left_out),
        false => checkpoint::draft_from_folder(source, options.tokenizer),
    }
}
