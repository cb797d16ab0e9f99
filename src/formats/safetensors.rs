//! safetensors files: headers that are not trusted, plain tensors, and packed ones, which are bytes (U8) whose type and shape
//! stand in the file's metadata.

use std::collections::HashMap;
use std::io::Read;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo, TensorView};

use crate::formats::blocks::{WeightKind, dequantize, packs};
use crate::limits::{MAX_HEADER_BYTES, MAX_TENSORS};
use crate::{Error, Result};

/// Reads the header of a safetensors file of `length` bytes. The tensors it lists then follow without gaps, overlaps or
/// rest, in the order of [`Metadata::offset_keys`].
pub(crate) fn read_header(name: &str, file: &mut dyn Read, length: u64) -> Result<Metadata> {
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
#[cfg(all(feature = "convert", not(target_family = "wasm")))]
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
#[cfg(all(feature = "convert", not(target_family = "wasm")))]
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

/// The type of plain floats; none where it is not read here.
pub(crate) fn float_kind(dtype: Dtype) -> Option<WeightKind> {
    match dtype {
        Dtype::F32 => Some(WeightKind::F32),
        Dtype::F16 => Some(WeightKind::F16),
        Dtype::BF16 => Some(WeightKind::BF16),
        _ => None,
    }
}

/// Burn has no tensor without dimensions: a scalar is a row of one.
pub(crate) fn shape_of(info: &TensorInfo) -> Vec<usize> {
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

// --- packed tensors

/// What the metadata of a safetensors file says of a U8 tensor: `q8_0 256 704`, its type and its shape.
pub(crate) struct Declaration {
    /// Nothing for a type that is not read here.
    pub kind: Option<WeightKind>,
    pub text: String,
    pub shape: Vec<usize>,
}

/// The declaration of a packed tensor, held against the tensor; none for one that is not packed.
pub(crate) fn declaration(
    file: &str,
    header: &Metadata,
    tensor: &str,
    info: &TensorInfo,
) -> Result<Option<Declaration>> {
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
        if !packs(kind, columns) {
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

/// A file of tensors that cannot be read, by its name.
pub(crate) fn corrupt(name: &str, reason: impl ToString) -> Error {
    Error::Shard { name: name.into(), reason: reason.to_string() }
}
