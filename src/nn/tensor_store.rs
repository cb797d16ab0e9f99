//! Tensors by name, on the device, until the modules that are made of them take them.
//!
//! Shards come in any order and modules ask for tensors in theirs. So a [`TensorStore`] moves each tensor of a shard
//! to the device at once, one at a time, and hands it out later by name: the whole model is never held twice.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use burn::tensor::{DType, Device, Tensor, TensorData};
use safetensors::tensor::{Metadata, TensorInfo};

use crate::formats::gguf::RawTensor;
use crate::formats::quantize::{Part, Precision, encode};
use crate::formats::safetensors::{
    Declaration, corrupt, declaration, float_kind, read_bytes, read_header, rows_and_columns, shape_of,
};
use crate::kernels::quant_matmul::PackedShape;
use crate::nn::quantized_matrix::{MAX_BINDING_WORDS, PackedRows, Rows};
use crate::{Error, Result};

/// Tensors on a device, waiting under their checkpoint names for the modules that take them.
pub struct TensorStore {
    device: Device,
    pub(crate) keep: Box<dyn Fn(&str) -> bool>,
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
    /// 32-bit floats on this side of the device, and the shape they are to have: of what is laid out anew before it goes
    /// there.
    Host { shape: Vec<usize>, values: Vec<f32> },
    /// Of a type that is not read, left behind. An error only for the one who asks for it: Hugging Face checkpoints
    /// carry integer tables (`position_ids`) that no module needs.
    Unreadable { dtype: String },
}

impl Stored {
    fn into_values(self, device: &Device) -> Option<Tensor<1>> {
        match self {
            Self::Values { values, .. } => Some(values),
            Self::Packed { rows, .. } => {
                Some(concatenate(rows.into_iter().map(|rows| Rows::Packed(rows).into_dense().flatten(0, 1)).collect()))
            }
            Self::Host { values, .. } => Some(on_device(values, device)),
            Self::Unreadable { .. } => None,
        }
    }

    fn into_rows(self, columns: usize, device: &Device) -> Vec<Rows> {
        match self {
            Self::Values { shape, values } => vec![Rows::Dense(values.reshape([shape[0], columns]))],
            Self::Packed { rows, .. } => rows.into_iter().map(Rows::Packed).collect(),
            Self::Host { shape, values } => {
                vec![Rows::Dense(on_device(values, device).reshape([shape[0], columns]))]
            }
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
    #[cfg(all(feature = "convert", not(target_family = "wasm")))]
    pub(crate) fn recording(device: &Device) -> Self {
        Self { recorded: Some(Vec::new()), ..Self::new(device) }
    }

    /// The names and shapes that were asked for.
    #[cfg(all(feature = "convert", not(target_family = "wasm")))]
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
    pub(crate) fn add(
        &mut self,
        name: &str,
        file: &mut dyn Read,
        length: u64,
        moved: &mut dyn FnMut(u64),
    ) -> Result<()> {
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
            _ if name.starts_with(ADAPTERS) => Stored::Host { values: raw.to_f32(), shape: raw.shape },
            Some(shape) => {
                let rows = PackedRows::pack(&raw.bytes, shape, MAX_BINDING_WORDS, &self.device);
                self.held.memory_bytes += 4 * shape.words() as u64;
                Stored::Packed { shape: raw.shape, rows }
            }
            None => {
                let values = raw.to_f32();
                let length = values.len();
                self.held.memory_bytes += 4 * length as u64;
                Stored::Values { shape: raw.shape, values: on_device(values, &self.device) }
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
        let device = self.device.clone();
        let parts = self.take_parts(name, &shape)?.into_iter().filter_map(|part| part.into_values(&device));
        Ok(concatenate(parts.collect()).reshape(shape))
    }

    /// Takes a matrix out of the store in the parts it is stored in, packed where it is stored packed. What has more
    /// dimensions has a row for each index of the first.
    ///
    /// # Errors
    ///
    /// As [`TensorStore::take`].
    pub fn take_rows<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Vec<Rows>> {
        let (columns, device) = (shape[1..].iter().product(), self.device.clone());
        Ok(self.take_parts(name, &shape)?.into_iter().flat_map(|part| part.into_rows(columns, &device)).collect())
    }

    /// Takes the numbers of a tensor that waits on this side of the device: one whose name begins with `adapters.`.
    ///
    /// # Errors
    ///
    /// As [`TensorStore::take`]; [`Error::TensorMissing`] for another tensor.
    pub fn take_values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let numbers = |part| match part {
            Stored::Host { values, .. } => Ok(values),
            _ => Err(Error::TensorMissing(name.into())),
        };
        let parts = self.take_parts(name, shape)?.into_iter().map(numbers).collect::<Result<Vec<_>>>()?;
        Ok(parts.concat())
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
                Some(Stored::Values { shape, .. } | Stored::Packed { shape, .. } | Stored::Host { shape, .. }) => shape,
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

/// How the names of adapters begin, which `model/llm/adapters.rs` puts together.
const ADAPTERS: &str = "adapters.";

fn on_device(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), (device, DType::F32))
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

/// How a tensor is kept packed; none for plain floats.
fn packed_shape(raw: &RawTensor<'_>) -> Option<PackedShape> {
    let (rows, columns) = rows_and_columns(&raw.shape)?;
    PackedShape::new(raw.kind, rows, columns).filter(|_| raw.kind.block_len() > 1)
}
