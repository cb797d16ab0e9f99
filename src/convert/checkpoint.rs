//! Our own models: checkpoints of the training code, and folders such as it exports.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use pytorch_reader::{PickleValue, PytorchReader};

use super::files::{tensors_of_folder, tensors_of_torch, torch_error};
use super::{Draft, Tensors};
use crate::formats::sniff::{SNIFFED_BYTES, Wanted, refuse_another};
use crate::model::config::{SetokimConfig, VisionConfig};
use crate::model::folder::{check_preprocessor, read_config, read_tokenizer};
use crate::model::siglip_folder::check_known;
use crate::{Error, Result};

/// What a checkpoint of stage 2 or 3 puts in front of the model's own names; beside it stands what only training needs.
const PREFIX: &str = "setokim.";

/// A `checkpoint.pt` of `training/`: the averaged weights. `tokenizer` is the text of the `tokenizer.json` that a language
/// model was trained with.
///
/// # Errors
/// [`Error::Shard`] for a file that is not a sound PyTorch file; [`Error::Config`] for a config that is not one;
/// [`Error::Convert`] for another file that `torch.save` wrote, and for a language model without a tokenizer.
pub(crate) fn draft_from_checkpoint(path: &Path, tokenizer: Option<Vec<u8>>) -> Result<Draft> {
    if !path.is_file() {
        return Err(Error::io(path, std::io::ErrorKind::NotFound.into()));
    }
    refuse_other_file(path)?;
    let saved = PytorchReader::read_pickle_data(path, None).map_err(|error| torch_error(path, &error))?;
    let (config, has_average) = match saved {
        PickleValue::Dict(mut saved) => (saved.remove("config"), saved.contains_key("average")),
        _ => (None, false),
    };
    let (Some(PickleValue::String(config)), true) = (config, has_average) else {
        let message = format!("`{}` is not a checkpoint of training/; convert the folder it lies in", path.display());
        return Err(Error::Convert(message));
    };
    let tensors = tensors_of_torch(path, Some("average"))?;
    let tensors = if tensors.keys().any(|name| name.starts_with(PREFIX)) { without_prefix(tensors) } else { tensors };
    draft(config, tokenizer, tensors)
}

/// Says what a file is that is no checkpoint.
fn refuse_other_file(path: &Path) -> Result<()> {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(SNIFFED_BYTES as u64).read_to_end(&mut start));
    read.map_err(|error| Error::io(path, error))?;
    refuse_another(Wanted::Torch, &path.display().to_string(), "shard-corrupt", &start)
}

/// A model folder of ours: another bundle, or what `training.export` writes. `tokenizer` replaces the folder's.
///
/// # Errors
/// As [`crate::model::folder::read_weights`]; [`Error::Config`]; [`Error::Convert`] for a language model without a tokenizer.
pub(crate) fn draft_from_folder(folder: &Path, tokenizer: Option<Vec<u8>>) -> Result<Draft> {
    let tokenizer = match tokenizer {
        None if folder.join("tokenizer.json").is_file() => Some(read_tokenizer(folder)?),
        given => given,
    };
    let config = read_config(folder)?;
    let mut tensors = tensors_of_folder(folder)?;
    let settings = SetokimConfig::from_json(&config)?;
    check_preprocessor(folder, &settings)?;
    if let VisionConfig::Siglip(tower) = settings.vision {
        // A Hugging Face folder holds a text half and more layers than are read.
        tensors.retain(|name, _| !is_siglips(name) || tower.reads(name));
        tensors.keys().filter(|name| is_siglips(name)).try_for_each(|name| check_known(name))?;
    }
    draft(config, tokenizer, tensors)
}

/// Neither ours nor the language model's.
fn is_siglips(name: &str) -> bool {
    !["setok.", "detok.", "heads.", "llm.", "projector.", "diffusion.", "mask_head."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

fn draft(config: String, tokenizer: Option<Vec<u8>>, tensors: Tensors) -> Result<Draft> {
    let has_llm = SetokimConfig::from_json(&config)?.llm.is_some();
    if has_llm && tokenizer.is_none() {
        return Err(Error::Convert("the model talks, and the tokenizer.json of its text is not there".into()));
    }
    Ok(Draft { config, tokenizer: tokenizer.filter(|_| has_llm), tensors, notes: Vec::new() })
}

fn without_prefix(tensors: Tensors) -> Tensors {
    tensors.into_iter().filter_map(|(name, read)| Some((name.strip_prefix(PREFIX)?.to_owned(), read))).collect()
}
