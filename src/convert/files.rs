//! Tensors in files, read when they are wanted.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use pytorch_reader::{DType, PytorchReader};

use super::{Lazy, Tensors};
use crate::formats::blocks::WeightKind;
use crate::formats::gguf::RawTensor;
use crate::formats::safetensors::{TensorPlace, list_tensors, read_bytes, rows_and_columns};
use crate::model::folder::shard_files;
use crate::nn::tensor_store::part_name;
use crate::{Error, Result};

/// The tensors of a folder of safetensors: one of ours, or Hugging Face's.
pub(crate) fn tensors_of_folder(folder: &Path) -> Result<Tensors> {
    let mut tensors = Tensors::new();
    for path in shard_files(folder)? {
        tensors.extend(tensors_of_safetensors(&path)?);
    }
    Ok(with_joined_parts(tensors))
}

/// The tensors of one safetensors file.
pub(crate) fn tensors_of_safetensors(path: &Path) -> Result<Tensors> {
    let mut file = BufReader::new(File::open(path).map_err(|error| Error::io(path, error))?);
    let length = file.get_ref().metadata().map_err(|error| Error::io(path, error))?.len();
    let places = list_tensors(&path.display().to_string(), &mut file, length)?;
    let lazy = |place: TensorPlace| -> (String, Lazy) {
        let (name, path) = (place.name.clone(), path.to_owned());
        (name, Rc::new(move || read_place(&path, &place)))
    };
    // A tensor of no values is legal, and no part of any model.
    Ok(places.into_iter().filter(|place| !place.shape.contains(&0)).map(lazy).collect())
}

fn read_place(path: &PathBuf, place: &TensorPlace) -> Result<RawTensor<'static>> {
    let Some(kind) = place.kind else {
        return Err(Error::TensorType { name: place.name.clone(), dtype: place.dtype.clone() });
    };
    let read = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(place.bytes.start))?;
        read_bytes(&mut file, (place.bytes.end - place.bytes.start) as usize)
    };
    let bytes = read().map_err(|error| Error::io(path, error))?;
    filled(path, &place.name, RawTensor { kind, shape: place.shape.clone(), bytes: Cow::Owned(bytes) })
}

/// Refuses a tensor whose bytes do not fill its shape, and one without any: its other sizes could be anything.
fn filled(path: &Path, name: &str, tensor: RawTensor<'static>) -> Result<RawTensor<'static>> {
    let shape = if tensor.shape.is_empty() { &[1][..] } else { &tensor.shape }; // a number is a row of one
    let bytes = rows_and_columns(shape).and_then(|(rows, columns)| tensor.kind.byte_count(&[rows, columns]));
    if bytes != Some(tensor.bytes.len()) {
        let reason = format!("tensor `{name}` of shape {:?} has {} bytes", tensor.shape, tensor.bytes.len());
        return Err(Error::Shard { name: path.display().to_string(), reason });
    }
    Ok(tensor)
}

/// `NAME.part.0`, `NAME.part.1` ... as `NAME`.
fn with_joined_parts(mut tensors: Tensors) -> Tensors {
    let firsts: Vec<String> =
        tensors.keys().filter_map(|name| Some(name.strip_suffix(".part.0")?.to_owned())).collect();
    for name in firsts {
        let parts: Vec<Lazy> = (0..).map_while(|part| tensors.remove(&part_name(&name, part))).collect();
        tensors.insert(name, Rc::new(move || joined(&parts)));
    }
    tensors
}

fn joined(parts: &[Lazy]) -> Result<RawTensor<'static>> {
    let mut whole = parts[0]()?;
    for part in &parts[1..] {
        let part = part()?;
        // Of one kind, as this library writes them; else the bytes could not follow one another.
        if part.kind != whole.kind || part.shape[1..] != whole.shape[1..] {
            return Err(Error::Convert("a tensor in parts has parts of several kinds".into()));
        }
        whole.shape[0] += part.shape[0];
        whole.bytes.to_mut().extend_from_slice(&part.bytes);
    }
    Ok(whole)
}

/// The tensors of a file that `torch.save` wrote, or of one dictionary in it.
pub(crate) fn tensors_of_torch(path: &Path, key: Option<&str>) -> Result<Tensors> {
    let reader = match key {
        Some(key) => PytorchReader::with_top_level_key(path, key),
        None => PytorchReader::new(path),
    };
    let reader = reader.map_err(|error| torch_error(path, &error))?;
    let lazy = |(name, tensor): (String, pytorch_reader::Tensor)| -> (String, Lazy) {
        let path = path.to_owned();
        (name, Rc::new(move || read_torch(&path, &tensor)))
    };
    Ok(reader.into_tensors().into_iter().map(lazy).collect())
}

pub(crate) fn torch_error(path: &Path, error: &pytorch_reader::PytorchError) -> Error {
    Error::Shard { name: path.display().to_string(), reason: error.to_string() }
}

fn read_torch(path: &Path, tensor: &pytorch_reader::Tensor) -> Result<RawTensor<'static>> {
    let kind = match tensor.dtype() {
        // Twice the digits that any part of a model keeps.
        DType::F32 | DType::F64 => WeightKind::F32,
        DType::F16 => WeightKind::F16,
        DType::BF16 => WeightKind::BF16,
        other => return Err(Error::TensorType { name: tensor.name.clone(), dtype: format!("{other:?}") }),
    };
    let mut bytes = tensor.read().map_err(|error| match error.kind() {
        // The file disagrees with itself.
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
            Error::Shard { name: path.display().to_string(), reason: error.to_string() }
        }
        _ => Error::io(path, error),
    })?;
    if tensor.dtype() == DType::F64 {
        bytes =
            bytes.as_chunks().0.iter().flat_map(|&value| (f64::from_ne_bytes(value) as f32).to_le_bytes()).collect();
    }
    filled(path, &tensor.name, RawTensor { kind, shape: tensor.shape().to_vec(), bytes: Cow::Owned(bytes) })
}
