//! `manifest.json`: the files of a model, with their lengths and hashes.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::formats::safetensors::corrupt;
use crate::limits::{MAX_FILE_BYTES, MAX_FILES, MAX_TEXT_BYTES};
use crate::{Error, Result};

/// The one value of [`Manifest::format`] that this library reads.
pub const MANIFEST_FORMAT: u32 = 1;

/// `manifest.json`: the files of a model. Fields beside these are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// The files, in the order in which they are best loaded.
    pub files: Vec<FileEntry>,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name beside the manifest: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256: 64 lower-case hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// Reads and checks the text of a `manifest.json`.
    ///
    /// # Errors
    ///
    /// [`Error::Manifest`] when it is not JSON of this form, is of another format, or lists a file twice, under a
    /// name that could lead out of the model's folder, of no bytes or over 2 GiB, or without a proper hash.
    pub fn parse(json: &str) -> Result<Self> {
        if json.len() > MAX_TEXT_BYTES {
            return Err(Error::Manifest(format!("it is longer than {} MiB", MAX_TEXT_BYTES >> 20)));
        }
        let mut manifest: Self = serde_json::from_str(json).map_err(|error| Error::Manifest(error.to_string()))?;
        if manifest.format != MANIFEST_FORMAT {
            return Err(Error::Manifest(format!(
                "its format is {}, this library reads format {MANIFEST_FORMAT}",
                manifest.format
            )));
        }
        if !(1..=MAX_FILES).contains(&manifest.files.len()) {
            return Err(Error::Manifest(format!("it lists {} files, not 1 to {MAX_FILES}", manifest.files.len())));
        }
        let mut names = HashSet::new();
        for file in &mut manifest.files {
            file.sha256.make_ascii_lowercase();
            file.check()?;
            if !names.insert(&file.name) {
                return Err(Error::Manifest(format!("it lists `{}` twice", file.name)));
            }
        }
        Ok(manifest)
    }
}

impl FileEntry {
    fn check(&self) -> Result<()> {
        if !is_plain_name(&self.name) {
            return Err(Error::Manifest(format!("`{}` is not a plain file name", self.name.escape_default())));
        }
        if !(1..=MAX_FILE_BYTES).contains(&self.bytes) {
            return Err(Error::Manifest(format!(
                "`{}` should have 1 to {MAX_FILE_BYTES} bytes, not {}",
                self.name, self.bytes
            )));
        }
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(Error::Manifest(format!("the SHA-256 of `{}` is not 64 hexadecimal digits", self.name)));
        }
        Ok(())
    }

    /// Whether the file holds tensors. Others (a tokenizer) are for their readers.
    pub fn is_shard(&self) -> bool {
        self.name.ends_with(".safetensors")
    }

    /// Compares a whole file with its entry.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`] on another length, [`Error::HashMismatch`] on other bytes.
    pub fn verify(&self, bytes: &[u8]) -> Result<()> {
        self.verify_length(bytes.len() as u64)?;
        self.verify_hash(Sha256::digest(bytes).as_slice())
    }

    pub(crate) fn verify_length(&self, length: u64) -> Result<()> {
        if length != self.bytes {
            return Err(corrupt(&self.name, format!("it has {length} bytes, the manifest says {}", self.bytes)));
        }
        Ok(())
    }

    pub(crate) fn verify_hash(&self, digest: &[u8]) -> Result<()> {
        let got: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if got != self.sha256 {
            return Err(Error::HashMismatch { name: self.name.clone(), want: self.sha256.clone(), got });
        }
        Ok(())
    }
}

/// Whether a name from outside stays in its folder, on every operating system and in a URL.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=200).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}
