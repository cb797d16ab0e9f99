//! Shards that come one by one.

use crate::Result;
use crate::formats::manifest::{FileEntry, Manifest};
use crate::formats::safetensors::corrupt;
use crate::nn::tensor_store::TensorStore;

/// Loads a model from a manifest and its shards, given one by one in any order: what a page does as downloads arrive.
pub struct ShardLoader {
    wanted: Vec<FileEntry>,
    store: TensorStore,
}

impl ShardLoader {
    /// Waits for the shards of `manifest`.
    pub fn new(manifest: &Manifest, store: TensorStore) -> Self {
        Self { wanted: manifest.files.iter().filter(|file| file.is_shard()).cloned().collect(), store }
    }

    /// The shards still to come, in the manifest's order.
    pub fn wanted(&self) -> &[FileEntry] {
        &self.wanted
    }

    /// Checks a shard and moves its tensors to the device. A shard that is refused is still wanted.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`] when it is not wanted, has another length, or is not a sound safetensors file;
    /// [`Error::HashMismatch`] when the bytes are others.
    pub fn add(&mut self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let Some(at) = self.wanted.iter().position(|file| file.name == name) else {
            return Err(corrupt(name, "it is not in the manifest, or was loaded already"));
        };
        self.wanted[at].verify(&bytes)?;
        self.store.add_shard(name, bytes)?;
        self.wanted.remove(at);
        Ok(())
    }

    /// The tensors, once every shard has come.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`] names the first that has not.
    pub fn finish(self) -> Result<TensorStore> {
        match self.wanted.first() {
            Some(file) => Err(corrupt(&file.name, "it was not loaded")),
            None => Ok(self.store),
        }
    }
}
