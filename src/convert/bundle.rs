//! Writes a draft as a model folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Draft, Part, Precisions, encode};
use crate::formats::blocks::WeightKind;
use crate::formats::gguf::RawTensor;
use crate::formats::manifest::{FileEntry, MANIFEST_FORMAT, Manifest};
use crate::model::config::SetokimConfig;
use crate::nn::tensor_store::part_name;
use crate::{Error, Result};

/// Bytes of a shard at the most, unless asked otherwise: small enough for a browser to fetch again when a download breaks.
pub const SHARD_BYTES: usize = 32 << 20;

/// What a tensor takes of a shard's header: its entry, and for a packed one its line in the metadata.
const HEADER_BYTES: usize = 512;

/// What was written, part by part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// One row for each part of the model.
    pub rows: Vec<ReportRow>,
    /// Names, sizes and hashes of the files that were written.
    pub manifest: Manifest,
}

/// What was written of a part of the model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReportRow {
    /// Which part of the model.
    pub part: Part,
    /// Tensors of it.
    pub tensors: usize,
    /// Values of these tensors.
    pub parameters: usize,
    /// Bytes that they take as stored.
    pub bytes: usize,
    /// The types that the part is stored in, by falling share of bytes.
    pub types: Vec<String>,
}

/// Writes `config.json`, `tokenizer.json`, shards of at most `shard_bytes` and, last of all, `manifest.json` into
/// `folder`. Shards that lie there are removed first; other files stay.
///
/// # Errors
/// [`Error::Config`] for a config that this library would not read; [`Error::Setting`] when a row of a tensor does not fit
/// into a shard; [`Error::Io`]; what reading the source and [`encode`] say.
pub fn write_bundle(draft: &Draft, precisions: &Precisions, shard_bytes: usize, folder: &Path) -> Result<Report> {
    SetokimConfig::from_json(&draft.config)?;
    std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
    remove_shards(folder)?;
    let mut writer = Writer { folder, shard_bytes, shard: Vec::new(), filled: 0, files: Vec::new(), shards: 0 };
    writer.write_file("config.json", draft.config.as_bytes())?;
    if let Some(tokenizer) = &draft.tokenizer {
        writer.write_file("tokenizer.json", tokenizer)?;
    }
    let mut tallies: BTreeMap<Part, Tally> = BTreeMap::new();
    for (name, read) in &draft.tensors {
        let part = Part::of(name);
        let encoded = encode(name, read()?, precisions.of(part))?;
        tallies.entry(part).or_default().add(&encoded);
        writer.add(name, encoded)?;
    }
    writer.flush()?;
    let manifest = Manifest { format: MANIFEST_FORMAT, files: writer.files };
    let text = serde_json::to_string_pretty(&manifest).map_err(|error| Error::Manifest(error.to_string()))?;
    write(&folder.join("manifest.json"), (text + "\n").as_bytes())?;
    Ok(Report { rows: tallies.into_iter().map(|(part, tally)| tally.into_row(part)).collect(), manifest })
}

#[derive(Default)]
struct Tally {
    tensors: usize,
    parameters: usize,
    bytes: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn add(&mut self, encoded: &RawTensor<'_>) {
        self.tensors += 1;
        self.parameters += encoded.shape.iter().product::<usize>();
        *self.bytes.entry(encoded.kind.name()).or_default() += encoded.bytes.len();
    }

    fn into_row(self, part: Part) -> ReportRow {
        let mut types: Vec<_> = self.bytes.iter().collect();
        types.sort_by_key(|(_, bytes)| std::cmp::Reverse(**bytes));
        ReportRow {
            part,
            tensors: self.tensors,
            parameters: self.parameters,
            bytes: self.bytes.values().sum(),
            types: types.into_iter().map(|(name, _)| name.to_lowercase()).collect(),
        }
    }
}

struct Writer<'a> {
    folder: &'a Path,
    shard_bytes: usize,
    shard: Vec<(String, RawTensor<'static>)>,
    /// Bytes of `shard`, its header included.
    filled: usize,
    shards: usize,
    files: Vec<FileEntry>,
}

impl Writer<'_> {
    /// Puts a tensor into the shard, or as many of its rows as fit.
    fn add(&mut self, name: &str, encoded: RawTensor<'static>) -> Result<()> {
        let room = self.shard_bytes.saturating_sub(HEADER_BYTES + 2 * name.len());
        if encoded.bytes.len() <= room {
            return self.add_whole(name.into(), encoded);
        }
        let rows = encoded.shape.first().copied().unwrap_or(1);
        let row_bytes = encoded.bytes.len() / rows;
        if row_bytes > room {
            let message = format!("a row of `{name}` takes {row_bytes} bytes: choose larger shards");
            return Err(Error::Setting(message));
        }
        let bytes_per_part = room / row_bytes * row_bytes;
        for (part, bytes) in encoded.bytes.chunks(bytes_per_part).enumerate() {
            let mut shape = encoded.shape.clone();
            shape[0] = bytes.len() / row_bytes;
            let rows = RawTensor { kind: encoded.kind, shape, bytes: bytes.to_vec().into() };
            self.add_whole(part_name(name, part), rows)?;
        }
        Ok(())
    }

    fn add_whole(&mut self, name: String, encoded: RawTensor<'static>) -> Result<()> {
        let size = encoded.bytes.len() + HEADER_BYTES + 2 * name.len();
        if self.filled + size > self.shard_bytes {
            self.flush()?;
        }
        self.filled += size;
        self.shard.push((name, encoded));
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.shard.is_empty() {
            return Ok(());
        }
        self.shards += 1;
        self.filled = 0;
        let bytes = safetensors_file(std::mem::take(&mut self.shard));
        self.write_file(&format!("setokim-{:05}.safetensors", self.shards), &bytes)
    }

    fn write_file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        write(&self.folder.join(name), bytes)?;
        let sha256 = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        self.files.push(FileEntry { name: name.into(), bytes: bytes.len() as u64, sha256 });
        Ok(())
    }
}

/// The bytes of a shard: docs/weights.md. The same tensors always give the same bytes.
fn safetensors_file(mut tensors: Vec<(String, RawTensor<'static>)>) -> Vec<u8> {
    // Wide types first, so that every value lies at a multiple of its size.
    tensors.sort_by_key(|(_, tensor)| match tensor.kind {
        WeightKind::F32 => 0,
        WeightKind::F16 | WeightKind::BF16 => 1,
        WeightKind::Q8_0 | WeightKind::Q4_0 | WeightKind::Q4_1 => 2,
    });
    let mut header = serde_json::Map::new();
    let mut packed = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, RawTensor { kind, shape, bytes }) in tensors {
        let range = [data.len(), data.len() + bytes.len()];
        let (dtype, stored_shape) = match kind {
            WeightKind::F32 | WeightKind::F16 | WeightKind::BF16 => (kind.name(), shape),
            WeightKind::Q8_0 | WeightKind::Q4_0 | WeightKind::Q4_1 => {
                let sizes: String = shape.iter().map(|size| format!(" {size}")).collect();
                packed.insert(name.clone(), json!(kind.name().to_lowercase() + &sizes));
                ("U8", vec![shape[0], bytes.len() / shape[0]])
            }
        };
        header.insert(name, json!({ "dtype": dtype, "shape": stored_shape, "data_offsets": range }));
        data.extend_from_slice(&bytes);
    }
    if !packed.is_empty() {
        header.insert("__metadata__".into(), packed.into());
    }
    let mut header = serde_json::Value::from(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

/// Shards of an earlier bundle must not lie beside those of a new one.
fn remove_shards(folder: &Path) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|error| Error::io(folder, error))?;
    let paths: BTreeSet<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "safetensors")) {
        std::fs::remove_file(path).map_err(|error| Error::io(path, error))?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|error| Error::io(path, error))
}
