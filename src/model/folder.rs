//! A model folder: `config.json`, `tokenizer.json`, and the shards that its manifest or index lists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::formats::manifest::{FileEntry, Manifest, is_plain_name};
use crate::nn::tensor_store::TensorStore;
use crate::{Error, Result};

/// How far [`read_weights`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The file being read.
    pub file: &'a str,
    /// Bytes of all files that are on the device.
    pub done: u64,
    /// Bytes of all files.
    pub total: u64,
}

/// The text of a model folder's `config.json`.
///
/// # Errors
///
/// [`Error::Io`].
pub fn read_config(folder: &Path) -> Result<String> {
    read_text(&folder.join("config.json"))
}

/// The bytes of a model folder's `tokenizer.json`, compared with their SHA-256 where a manifest has it.
///
/// # Errors
///
/// [`Error::Io`], [`Error::Manifest`], [`Error::Shard`], [`Error::HashMismatch`].
pub fn read_tokenizer(folder: &Path) -> Result<Vec<u8>> {
    const NAME: &str = "tokenizer.json";
    let (path, manifest) = (folder.join(NAME), folder.join("manifest.json"));
    let bytes = std::fs::read(&path).map_err(|error| Error::io(&path, error))?;
    if manifest.is_file() {
        let files = Manifest::parse(&read_text(&manifest)?)?.files;
        files.iter().filter(|file| file.name == NAME).try_for_each(|file| file.verify(&bytes))?;
    }
    Ok(bytes)
}

/// Moves the weights of a model folder into `store`: the shards of `manifest.json` (each compared with its SHA-256),
/// else the files of Hugging Face's `model.safetensors.index.json`, else `model.safetensors`.
///
/// # Errors
///
/// [`Error::Io`], [`Error::Manifest`], [`Error::Shard`], [`Error::HashMismatch`]; [`Error::TensorMissing`] when an
/// index lists a tensor that its file does not have.
pub fn read_weights(folder: &Path, store: &mut TensorStore, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
    let (shards, index) = list_shards(folder)?;
    read_shards(folder, &shards, store, progress)?;
    let listed = index.iter().flat_map(|index| index.weight_map.keys());
    match listed.into_iter().find(|name| (store.keep)(name) && !store.contains(name)) {
        Some(name) => Err(Error::TensorMissing(name.clone())),
        None => Ok(()),
    }
}

/// The paths of the files that [`read_weights`] would read; those of a manifest are compared with it.
#[cfg(feature = "convert")]
pub(crate) fn shard_files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let path = |shard: &Shard| {
        let path = folder.join(&shard.name);
        if let Some(entry) = &shard.entry {
            let mut file = BufReader::new(File::open(&path).map_err(|error| Error::io(&path, error))?);
            let length = file.get_ref().metadata().map_err(|error| Error::io(&path, error))?.len();
            verify(entry, &mut file, length, &path)?;
        }
        Ok(path)
    };
    list_shards(folder)?.0.iter().map(path).collect()
}

/// The safetensors files of a folder, and Hugging Face's index where that is what lists them.
fn list_shards(folder: &Path) -> Result<(Vec<Shard>, Option<Index>)> {
    let (manifest, index) = (folder.join("manifest.json"), folder.join("model.safetensors.index.json"));
    if manifest.is_file() {
        let files: Vec<FileEntry> = Manifest::parse(&read_text(&manifest)?)?.files;
        return Ok((files.into_iter().filter(FileEntry::is_shard).map(Shard::from).collect(), None));
    }
    if !index.is_file() {
        return Ok((vec![Shard::named("model.safetensors")], None));
    }
    let index = Index::parse(&read_text(&index)?)?;
    Ok((index.shards(), Some(index)))
}

/// A safetensors file, and what a manifest says of it.
struct Shard {
    name: String,
    entry: Option<FileEntry>,
}

impl Shard {
    fn named(name: &str) -> Self {
        Self { name: name.into(), entry: None }
    }
}

impl From<FileEntry> for Shard {
    fn from(entry: FileEntry) -> Self {
        Self { name: entry.name.clone(), entry: Some(entry) }
    }
}

/// Hugging Face's `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    /// Tensor name -> file name.
    weight_map: BTreeMap<String, String>,
}

impl Index {
    fn parse(json: &str) -> Result<Self> {
        let index: Self = serde_json::from_str(json).map_err(|error| Error::Manifest(error.to_string()))?;
        match index.weight_map.values().find(|name| !is_plain_name(name)) {
            Some(name) => Err(Error::Manifest(format!("`{}` is not a plain file name", name.escape_default()))),
            None => Ok(index),
        }
    }

    fn shards(&self) -> Vec<Shard> {
        let names: BTreeSet<&String> = self.weight_map.values().collect();
        names.into_iter().map(|name| Shard::named(name)).collect()
    }
}

fn read_shards(
    folder: &Path,
    shards: &[Shard],
    store: &mut TensorStore,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<()> {
    let length = |shard: &Shard| -> Result<u64> {
        let path = folder.join(&shard.name);
        Ok(std::fs::metadata(&path).map_err(|error| Error::io(&path, error))?.len())
    };
    let lengths = shards.iter().map(length).collect::<Result<Vec<_>>>()?;
    let total = lengths.iter().sum();
    let mut before = 0;
    for (shard, length) in shards.iter().zip(lengths) {
        let path = folder.join(&shard.name);
        let mut file = BufReader::new(File::open(&path).map_err(|error| Error::io(&path, error))?);
        if let Some(entry) = &shard.entry {
            verify(entry, &mut file, length, &path)?;
        }
        let mut done = before;
        store.add(&shard.name, &mut file, length, &mut |bytes| {
            done += bytes;
            progress(Progress { file: &shard.name, done, total });
        })?;
        before += length;
        progress(Progress { file: &shard.name, done: before, total });
    }
    Ok(())
}

/// Reads the file through once for its hash, and goes back to its start.
fn verify(entry: &FileEntry, file: &mut BufReader<File>, length: u64, path: &Path) -> Result<()> {
    entry.verify_length(length)?;
    let mut hash = Sha256::new();
    io::copy(file, &mut hash).map_err(|error| Error::io(path, error))?;
    file.rewind().map_err(|error| Error::io(path, error))?;
    entry.verify_hash(hash.finalize().as_slice())
}

fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| Error::io(path, error))
}
