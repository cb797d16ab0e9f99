//! Weights in: `manifest.json` and safetensors shards, or a Hugging Face folder -> tensors on the device.
//!
//! Shards come in any order and modules ask for tensors in theirs. So a [`TensorStore`] moves each tensor of a shard
//! to the device at once, one at a time, and hands it out later by name: the whole model is never held twice.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::Read;

use burn::tensor::{DType, Device, Tensor, TensorData};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::gguf::RawTensor;
use crate::kernels::quant_matmul::{PackedShape, WeightKind, dequantize};
use crate::matrix::{MAX_BINDING_WORDS, PackedRows, Rows};
use crate::precision::{Part, Precision, encode};
use crate::{Error, Result};

/// The one value of [`Manifest::format`] that this library reads.
pub const MANIFEST_FORMAT: u32 = 1;

/// Most files in a manifest.
pub const MAX_FILES: usize = 4096;

/// Most bytes in one file of a manifest: what an `ArrayBuffer` takes in every browser.
pub const MAX_FILE_BYTES: u64 = 2 << 30;

/// Most tensors in one file.
pub const MAX_TENSORS: usize = 1 << 16;

/// Most bytes of a `config.json` or `manifest.json`.
pub const MAX_TEXT_BYTES: usize = 4 << 20;

/// Most bytes in the header of a safetensors file; a header takes about 100 bytes per tensor.
pub const MAX_HEADER_BYTES: u64 = 64 << 20;

// --- the manifest

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

    fn verify_length(&self, length: u64) -> Result<()> {
        if length != self.bytes {
            return Err(corrupt(&self.name, format!("it has {length} bytes, the manifest says {}", self.bytes)));
        }
        Ok(())
    }

    fn verify_hash(&self, digest: &[u8]) -> Result<()> {
        let got: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if got != self.sha256 {
            return Err(Error::HashMismatch { name: self.name.clone(), want: self.sha256.clone(), got });
        }
        Ok(())
    }
}

/// Whether a name from outside stays in its folder, on every operating system and in a URL.
fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=200).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}

fn corrupt(name: &str, reason: impl ToString) -> Error {
    Error::Shard { name: name.into(), reason: reason.to_string() }
}

// --- tensors by name, on the device

/// Tensors on a device, waiting under their checkpoint names for the modules that take them.
pub struct TensorStore {
    device: Device,
    keep: Box<dyn Fn(&str) -> bool>,
    language_precision: Precision,
    held: HeldWeights,
    tensors: BTreeMap<String, Stored>,
    /// What modules asked for, in a store that only records it.
    recorded: Option<Vec<(String, Vec<usize>)>>,
}

/// What has come into a store so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldWeights {
    /// The types in the files, such as `f32` and `q8_0`.
    pub stored: BTreeSet<String>,
    /// Bytes on the device.
    pub memory_bytes: u64,
}

#[expect(clippy::large_enum_variant, reason = "nearly every tensor is `Values`: a box would only add an allocation")]
enum Stored {
    /// 32-bit floats on the device, and the shape they are to have.
    Values { shape: Vec<usize>, values: Tensor<1> },
    /// Blocks of a few bits a weight on the device, and the shape they are to have.
    Packed { shape: Vec<usize>, rows: Vec<PackedRows> },
    /// Of a type that is not read, left behind. An error only for the one who asks for it: Hugging Face checkpoints
    /// carry integer tables (`position_ids`) that no module needs.
    Unreadable { dtype: String },
}

impl Stored {
    fn into_values(self) -> Option<Tensor<1>> {
        match self {
            Self::Values { values, .. } => Some(values),
            Self::Packed { rows, .. } => {
                Some(concatenate(rows.into_iter().map(|rows| Rows::Packed(rows).into_dense().flatten(0, 1)).collect()))
            }
            Self::Unreadable { .. } => None,
        }
    }

    fn into_rows(self, columns: usize) -> Vec<Rows> {
        match self {
            Self::Values { shape, values } => vec![Rows::Dense(values.reshape([shape[0], columns]))],
            Self::Packed { rows, .. } => rows.into_iter().map(Rows::Packed).collect(),
            Self::Unreadable { .. } => Vec::new(),
        }
    }
}

impl TensorStore {
    /// An empty store.
    pub fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            keep: Box::new(|_| true),
            language_precision: Precision::Keep,
            held: HeldWeights::default(),
            tensors: BTreeMap::new(),
            recorded: None,
        }
    }

    /// The same store, which packs the weights of the language model anew as they come.
    #[must_use]
    pub fn with_language_precision(self, precision: Precision) -> Self {
        Self { language_precision: precision, ..self }
    }

    /// What has come so far.
    pub fn held(&self) -> &HeldWeights {
        &self.held
    }

    /// A store that gives zeros for every tensor that modules ask for, and remembers what that was.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn recording(device: &Device) -> Self {
        Self { recorded: Some(Vec::new()), ..Self::new(device) }
    }

    /// The names and shapes that were asked for.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn into_recorded(self) -> Vec<(String, Vec<usize>)> {
        self.recorded.unwrap_or_default()
    }

    /// An empty store that passes over the tensors whose names `keep` refuses, such as the text half of a checkpoint
    /// of which only the vision half is wanted.
    pub fn keeping(device: &Device, keep: impl Fn(&str) -> bool + 'static) -> Self {
        Self { keep: Box::new(keep), ..Self::new(device) }
    }

    /// The device that holds the tensors.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Moves the tensors of a safetensors file to the device, and drops the bytes: F32, F16 and BF16 as 32-bit floats,
    /// packed ones (docs/weights.md) as they are. `name` is for messages. A file that is refused leaves the store as it
    /// was.
    ///
    /// # Errors
    ///
    /// [`Error::Shard`] when it is not a sound safetensors file, a tensor is empty, another shard had one of its names, or
    /// a packed tensor is not what the file says of it.
    pub fn add_shard(&mut self, name: &str, bytes: Vec<u8>) -> Result<()> {
        self.add(name, &mut bytes.as_slice(), bytes.len() as u64, &mut |_| ())
    }

    /// [`Self::add_shard`] from anything that gives `length` bytes; `moved` is told the bytes of each tensor.
    fn add(&mut self, name: &str, file: &mut dyn Read, length: u64, moved: &mut dyn FnMut(u64)) -> Result<()> {
        let header = read_header(name, file, length)?;
        self.check(name, &header)?;
        for tensor in header.offset_keys() {
            let Some(info) = header.info(&tensor) else { continue };
            let bytes = read_bytes(file, info.data_offsets.1 - info.data_offsets.0).map_err(|e| corrupt(name, e))?;
            moved(bytes.len() as u64);
            if (self.keep)(&tensor) {
                let declared = declaration(name, &header, &tensor, info)?;
                let stored = self.store(&tensor, declared, info, &bytes)?;
                self.tensors.insert(tensor, stored);
            }
        }
        Ok(())
    }

    /// All that can be wrong with a shard is found before the first tensor moves.
    fn check(&self, name: &str, header: &Metadata) -> Result<()> {
        for (tensor, info) in header.tensors().into_iter().filter(|(tensor, _)| (self.keep)(tensor)) {
            if info.shape.contains(&0) {
                return Err(corrupt(name, format!("tensor `{tensor}` of shape {:?} holds no values", info.shape)));
            }
            if self.tensors.contains_key(&tensor) {
                return Err(corrupt(name, format!("tensor `{tensor}` came with another shard already")));
            }
            declaration(name, header, &tensor, info)?;
        }
        Ok(())
    }

    fn store(&mut self, name: &str, declared: Option<Declaration>, info: &TensorInfo, bytes: &[u8]) -> Result<Stored> {
        let (kind, dtype, shape) = match declared {
            Some(Declaration { kind, text, shape }) => (kind, text, shape),
            None => (float_kind(info.dtype), info.dtype.to_string(), shape_of(info)),
        };
        let Some(kind) = kind else { return Ok(Stored::Unreadable { dtype }) };
        self.held.stored.insert(kind.name().to_lowercase());
        let mut raw = RawTensor { kind, shape, bytes: Cow::Borrowed(bytes) };
        if Part::of(name) == Part::Llm {
            raw = encode(whole_name(name), raw, self.language_precision)?;
        }
        let stored = match packed_shape(&raw) {
            Some(shape) => {
                let rows = PackedRows::pack(&raw.bytes, shape, MAX_BINDING_WORDS, &self.device);
                self.held.memory_bytes += 4 * shape.words() as u64;
                Stored::Packed { shape: raw.shape, rows }
            }
            None => {
                let values = raw.to_f32();
                let length = values.len();
                self.held.memory_bytes += 4 * length as u64;
                let values = Tensor::from_data(TensorData::new(values, [length]), (&self.device, DType::F32));
                Stored::Values { shape: raw.shape, values }
            }
        };
        Ok(stored)
    }

    /// Takes a tensor out of the store as 32-bit floats. A scalar has the shape `[1]`.
    ///
    /// # Errors
    ///
    /// [`Error::TensorMissing`]; [`Error::TensorType`] when it is stored as integers or the like;
    /// [`Error::TensorShape`], which leaves the tensor in the store.
    pub fn take<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>> {
        let parts = self.take_parts(name, &shape)?.into_iter().filter_map(Stored::into_values);
        Ok(concatenate(parts.collect()).reshape(shape))
    }

    /// Takes a matrix out of the store in the parts it is stored in, packed where it is stored packed.
    ///
    /// # Errors
    ///
    /// As [`TensorStore::take`].
    pub fn take_rows(&mut self, name: &str, shape: [usize; 2]) -> Result<Vec<Rows>> {
        Ok(self.take_parts(name, &shape)?.into_iter().flat_map(|part| part.into_rows(shape[1])).collect())
    }

    /// Takes all parts of a tensor, of which together they have the shape.
    fn take_parts(&mut self, name: &str, want: &[usize]) -> Result<Vec<Stored>> {
        if let Some(recorded) = &mut self.recorded {
            recorded.push((name.into(), want.to_vec()));
            let length: usize = want.iter().product();
            let values = Tensor::zeros([length], &self.device);
            return Ok(vec![Stored::Values { shape: want.to_vec(), values }]);
        }
        let got = self.whole_shape(name)?;
        if got != want {
            return Err(Error::TensorShape { name: name.into(), want: want.to_vec(), got });
        }
        let names = self.stored_names(name);
        Ok(names.iter().filter_map(|name| self.tensors.remove(name)).collect())
    }

    /// Under what a tensor is stored: its own name, or, in parts of some rows each, the names of these.
    fn stored_names(&self, name: &str) -> Vec<String> {
        if self.tensors.contains_key(name) {
            return vec![name.into()];
        }
        (0..).map(|part| part_name(name, part)).take_while(|name| self.tensors.contains_key(name)).collect()
    }

    fn whole_shape(&self, name: &str) -> Result<Vec<usize>> {
        let mut whole: Option<Vec<usize>> = None;
        for stored_name in self.stored_names(name) {
            let shape = match self.tensors.get(&stored_name) {
                None => return Err(Error::TensorMissing(stored_name)),
                Some(Stored::Unreadable { dtype }) => {
                    return Err(Error::TensorType { name: stored_name, dtype: dtype.clone() });
                }
                Some(Stored::Values { shape, .. } | Stored::Packed { shape, .. }) => shape,
            };
            match &mut whole {
                None => whole = Some(shape.clone()),
                Some(whole) if whole[1..] == shape[1..] => whole[0] = whole[0].saturating_add(shape[0]),
                Some(whole) => {
                    return Err(Error::TensorShape { name: stored_name, want: whole.clone(), got: shape.clone() });
                }
            }
        }
        whole.ok_or_else(|| Error::TensorMissing(name.into()))
    }

    /// The shape of a tensor in the store; none where it is missing or cannot be read.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.whole_shape(name).ok()
    }

    /// Whether a tensor of that name waits in the store.
    pub fn contains(&self, name: &str) -> bool {
        !self.stored_names(name).is_empty()
    }

    /// The names of the tensors that nobody has taken, in alphabetical order. After loading, a name here is a sign
    /// that config and weights do not belong together.
    pub fn leftover(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}

/// The name of some rows of a tensor that is too large for one file.
pub fn part_name(tensor: &str, part: usize) -> String {
    format!("{tensor}.part.{part}")
}

/// The tensor that some rows are of.
fn whole_name(stored: &str) -> &str {
    stored.split_once(".part.").map_or(stored, |(whole, _)| whole)
}

/// `Tensor::cat` that leaves a single tensor alone.
fn concatenate(mut tensors: Vec<Tensor<1>>) -> Tensor<1> {
    if tensors.len() == 1 { tensors.swap_remove(0) } else { Tensor::cat(tensors, 0) }
}

// --- packed tensors

/// What the metadata of a safetensors file says of a U8 tensor: `q8_0 256 704`, its type and its shape.
struct Declaration {
    /// Nothing for a type that is not read here.
    kind: Option<WeightKind>,
    text: String,
    shape: Vec<usize>,
}

/// The declaration of a packed tensor, held against the tensor; none for one that is not packed.
fn declaration(file: &str, header: &Metadata, tensor: &str, info: &TensorInfo) -> Result<Option<Declaration>> {
    let texts: Option<&HashMap<String, String>> = header.metadata().as_ref();
    let Some(text) = texts.and_then(|texts| texts.get(tensor)).filter(|_| info.dtype == Dtype::U8) else {
        return Ok(None);
    };
    let wrong = |reason: &str| corrupt(file, format!("packed tensor `{tensor}` is said to be `{text}`: {reason}"));
    let mut words = text.split(' ');
    let name = words.next().unwrap_or_default();
    let shape = words.map(str::parse).collect::<Result<Vec<usize>, _>>();
    let shape = shape.map_err(|_| wrong("after the type comes a shape"))?;
    let kind = WeightKind::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name));
    if let Some(kind) = kind {
        let Some((rows, columns)) = rows_and_columns(&shape) else { return Err(wrong("no such matrix is possible")) };
        if PackedShape::new(kind, rows, columns).is_none() {
            return Err(wrong(&format!("its rows of {columns} values are not whole blocks")));
        }
        let bytes = kind.byte_count(&[rows, columns]).ok_or_else(|| wrong("it is too large"))?;
        if info.shape != [rows, bytes / rows] {
            return Err(wrong(&format!("that takes bytes of shape [{rows}, {}], not {:?}", bytes / rows, info.shape)));
        }
    }
    Ok(Some(Declaration { kind, text: text.clone(), shape }))
}

/// A tensor as a matrix with a row for each index of its first dimension; none for one that holds no values, or more than
/// can be counted.
pub(crate) fn rows_and_columns(shape: &[usize]) -> Option<(usize, usize)> {
    let (&rows, rest) = shape.split_first()?;
    let columns = rest.iter().try_fold(1usize, |product, &size| product.checked_mul(size))?;
    rows.checked_mul(columns).filter(|&weights| weights > 0)?;
    Some((rows, columns))
}

/// How a tensor is kept packed; none for plain numbers.
fn packed_shape(raw: &RawTensor<'_>) -> Option<PackedShape> {
    let (rows, columns) = rows_and_columns(&raw.shape)?;
    PackedShape::new(raw.kind, rows, columns).filter(|_| raw.kind.block_len() > 1)
}

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

// --- safetensors

/// Reads the header of a safetensors file of `length` bytes. The tensors it lists then follow without gaps, overlaps or
/// rest, in the order of [`Metadata::offset_keys`].
fn read_header(name: &str, file: &mut dyn Read, length: u64) -> Result<Metadata> {
    let mut size = [0; 8];
    file.read_exact(&mut size).map_err(|_| corrupt(name, "it is too short for a safetensors file"))?;
    let size = u64::from_le_bytes(size);
    let room = length.saturating_sub(8).min(MAX_HEADER_BYTES);
    if size > room {
        return Err(corrupt(name, format!("its header claims {size} bytes where {room} are possible")));
    }
    let header = read_bytes(file, size as usize).map_err(|error| corrupt(name, error))?; // size fits: <= 64 MiB
    let header: Metadata =
        serde_json::from_slice(&header).map_err(|error| corrupt(name, format!("its header is not valid: {error}")))?;
    if header.tensors().len() > MAX_TENSORS {
        return Err(corrupt(name, format!("it holds more than {MAX_TENSORS} tensors")));
    }
    let want = (8 + size).saturating_add(header.data_len() as u64); // a header may claim every address there is
    if want != length {
        return Err(corrupt(name, format!("its header describes {want} bytes, it has {length}")));
    }
    Ok(header)
}

/// Reads exactly `length` bytes, allocating no more than there are.
pub(crate) fn read_bytes(file: &mut dyn Read, length: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() != length {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Where in a file a tensor lies, and what it is.
#[cfg(not(target_family = "wasm"))]
pub(crate) struct TensorPlace {
    pub name: String,
    /// None for a type that is not read here, whose name `dtype` is.
    pub kind: Option<WeightKind>,
    pub dtype: String,
    pub shape: Vec<usize>,
    pub bytes: std::ops::Range<u64>,
}

/// The tensors of a safetensors file of `length` bytes, packed ones by what they stand for.
///
/// # Errors
///
/// As [`TensorStore::add_shard`].
#[cfg(not(target_family = "wasm"))]
pub(crate) fn list_tensors(file_name: &str, file: &mut dyn Read, length: u64) -> Result<Vec<TensorPlace>> {
    let header = read_header(file_name, file, length)?;
    let start = length - header.data_len() as u64;
    let place = |(name, info): (String, &TensorInfo)| {
        let (first, last) = info.data_offsets;
        let bytes = start + first as u64..start + last as u64;
        Ok(match declaration(file_name, &header, &name, info)? {
            Some(Declaration { kind, text, shape }) => TensorPlace { name, kind, dtype: text, shape, bytes },
            None => {
                let dtype = info.dtype.to_string();
                TensorPlace { name, kind: float_kind(info.dtype), dtype, shape: shape_of(info), bytes }
            }
        })
    };
    header.tensors().into_iter().map(place).collect()
}

/// The type of plain numbers; none where it is not read here.
fn float_kind(dtype: Dtype) -> Option<WeightKind> {
    match dtype {
        Dtype::F32 => Some(WeightKind::F32),
        Dtype::F16 => Some(WeightKind::F16),
        Dtype::BF16 => Some(WeightKind::BF16),
        _ => None,
    }
}

/// Burn has no tensor without dimensions: a scalar is a row of one.
fn shape_of(info: &TensorInfo) -> Vec<usize> {
    if info.shape.is_empty() { vec![1] } else { info.shape.clone() }
}

/// Reads one tensor (F32, F16, BF16) of a safetensors file: its shape and its values in row-major order.
///
/// # Errors
///
/// [`Error::Shard`] when the file is not sound, [`Error::TensorMissing`], [`Error::TensorType`].
pub fn read_safetensors_f32(bytes: &[u8], name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
    const FILE: &str = "safetensors";
    let mut data = bytes;
    let header = read_header(FILE, &mut data, bytes.len() as u64)?; // moves `data` to the first tensor
    let info = header.info(name).ok_or_else(|| Error::TensorMissing(name.into()))?;
    match float_kind(info.dtype) {
        Some(kind) => Ok((info.shape.clone(), dequantize(kind, &data[info.data_offsets.0..info.data_offsets.1]))),
        None => Err(Error::TensorType { name: name.into(), dtype: info.dtype.to_string() }),
    }
}

/// One tensor as a safetensors file (F32).
///
/// # Errors
///
/// [`Error::TensorShape`] when the values do not fill the shape.
pub fn write_safetensors_f32(name: &str, shape: &[usize], values: &[f32]) -> Result<Vec<u8>> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let wrong = || Error::TensorShape { name: name.into(), want: shape.to_vec(), got: vec![values.len()] };
    let elements = shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
    if elements != Some(values.len()) {
        return Err(wrong());
    }
    let tensor = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).map_err(|_| wrong())?;
    safetensors::serialize([(name, tensor)], None).map_err(|error| corrupt("safetensors", error))
}

// --- folders

#[cfg(not(target_family = "wasm"))]
pub(crate) use folder::shard_files;
#[cfg(not(target_family = "wasm"))]
pub use folder::{Progress, read_config, read_tokenizer, read_weights};

#[cfg(not(target_family = "wasm"))]
mod folder {
    use std::collections::BTreeSet;
    use std::fs::File;
    use std::io::{self, BufReader, Seek};
    use std::path::{Path, PathBuf};

    use super::*;

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
    pub(crate) fn shard_files(folder: &Path) -> Result<Vec<PathBuf>> {
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
}
