//! GGUF files (versions 2 and 3, little endian): metadata and tensors, read in place from the file's bytes, or part by part
//! from where they are.
//!
//! The layout is that of the specification, <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Nothing in a
//! file is trusted: every length is checked against what is left before it is used, and nothing is allocated for a
//! count that the file cannot hold.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use crate::formats::blocks::{WeightKind, dequantize};
use crate::formats::file_quants::{FileQuant, Stored};
pub use crate::formats::gguf_metadata::Value;
use crate::formats::gguf_metadata::{refuse_other_uses, type_name};
use crate::formats::sniff::{Wanted, refuse_another};
use crate::limits::{MAX_GGUF_ENTRIES, MAX_GGUF_VALUES};
use crate::{Error, Result};

const MAGIC: &[u8; 4] = b"GGUF";
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
/// Where `general.alignment` does not say otherwise.
const DEFAULT_ALIGNMENT: u64 = 32;
/// ggml tensors have at most four dimensions.
const MAX_DIMS: u32 = 4;
/// Of a file that is not in memory: as much as most vocabularies take.
const FIRST_BYTES: usize = 4 << 20;
/// Of a file that is not in memory: more than any vocabulary takes.
const MAX_GGUF_HEADER_BYTES: usize = 128 << 20;
/// Arrays inside arrays: none in practice, and a limit keeps a hostile file from exhausting the stack.
const MAX_ARRAY_DEPTH: usize = 4;

/// Where a tensor lies and what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// How its values are handed out.
    pub kind: WeightKind,
    /// How the file stores them, where nothing computes with that.
    pub packed: Option<FileQuant>,
    /// Row-major, outermost first: `[out, in]` for a linear layer (the file stores it innermost first).
    pub shape: Vec<usize>,
    /// Bytes of the file that hold the values.
    range: Range<usize>,
}

impl TensorInfo {
    /// The tensor in the bytes of the file whose header this is.
    #[cfg(all(feature = "convert", not(target_family = "wasm")))]
    pub(crate) fn raw<'a>(&self, file: &'a [u8]) -> RawTensor<'a> {
        self.unpacked(Cow::Borrowed(&file[self.range.clone()]))
    }

    /// The tensor of these bytes of the file.
    fn unpacked<'a>(&self, bytes: Cow<'a, [u8]>) -> RawTensor<'a> {
        let bytes = match self.packed {
            Some(packed) => Cow::Owned(packed.repack(&bytes)),
            None => bytes,
        };
        RawTensor { kind: self.kind, shape: self.shape.clone(), bytes }
    }
}

/// A tensor's values as they are stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RawTensor<'a> {
    /// How the values are stored.
    pub kind: WeightKind,
    /// Row-major, outermost first.
    pub shape: Vec<usize>,
    /// [`WeightKind::byte_count`] bytes.
    pub bytes: Cow<'a, [u8]>,
}

impl RawTensor<'_> {
    /// All values as f32.
    pub fn to_f32(&self) -> Vec<f32> {
        dequantize(self.kind, &self.bytes)
    }

    /// The first row with NaN or infinity in it. Of blocks only the scales can be either.
    pub(crate) fn first_not_finite(&self) -> Option<usize> {
        let columns: usize = self.shape.iter().skip(1).product();
        let block = self.bytes.chunks_exact(self.kind.block_bytes()).position(|block| !self.kind.is_finite(block))?;
        Some(block * self.kind.block_len() / columns.max(1))
    }

    /// Fails where a value is NaN or infinite. `name` is the tensor's.
    pub fn check_finite(&self, name: &str) -> Result<()> {
        self.first_not_finite().map_or(Ok(()), |row| Err(Error::WeightNotFinite { name: name.into(), row }))
    }

    /// The same with bytes of its own.
    pub fn into_owned(self) -> RawTensor<'static> {
        RawTensor { kind: self.kind, shape: self.shape, bytes: Cow::Owned(self.bytes.into_owned()) }
    }

    /// Fails where the shape is not `want`.
    pub fn check_shape(&self, name: &str, want: &[usize]) -> Result<()> {
        if self.shape != want {
            return Err(Error::TensorShape { name: name.into(), want: want.to_vec(), got: self.shape.clone() });
        }
        Ok(())
    }
}

/// An opened file.
pub struct Gguf<'a> {
    bytes: Box<ReadBytes<'a>>,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

/// Gives some bytes of a file.
type ReadBytes<'a> = dyn Fn(Range<usize>) -> Cow<'a, [u8]> + 'a;

impl<'a> Gguf<'a> {
    /// Reads the header and checks that every tensor lies inside the file. Tensors are borrowed from it, never copied.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        Self::open_from(bytes.len(), bytes.len(), move |range| Cow::Borrowed(&bytes[range]))
    }

    /// The same of a file of `len` bytes that need not be in memory: its header, then each tensor when it is asked for.
    pub fn open(len: usize, bytes: impl Fn(Range<usize>) -> Cow<'a, [u8]> + 'a) -> Result<Self> {
        Self::open_from(FIRST_BYTES, len, bytes)
    }

    fn open_from(first: usize, len: usize, bytes: impl Fn(Range<usize>) -> Cow<'a, [u8]> + 'a) -> Result<Self> {
        let mut known = len.min(first);
        loop {
            let start = bytes(0..known);
            let mut reader =
                Reader { bytes: &start, file_len: len, position: 0, values_left: MAX_GGUF_VALUES, goes_on: false };
            match reader.header() {
                Ok((metadata, tensors)) => return Ok(Self { bytes: Box::new(bytes), metadata, tensors }),
                Err(_) if reader.goes_on && known < len.min(MAX_GGUF_HEADER_BYTES) => known = len.min(2 * known),
                Err(error) => return Err(error),
            }
        }
    }

    /// Every metadata key with its value, by name.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    /// Every tensor's header, by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// A tensor's values as they are stored, or packed again as [`FileQuant::kind`] says.
    pub fn tensor(&self, name: &str) -> Result<RawTensor<'a>> {
        let info = self.tensors.get(name).ok_or_else(|| Error::TensorMissing(name.to_owned()))?;
        let (bytes, wanted) = ((self.bytes)(info.range.clone()), info.range.len());
        if bytes.len() != wanted {
            return Err(invalid(format!("of the tensor `{name}` {} bytes of {wanted} are there", bytes.len())));
        }
        Ok(info.unpacked(bytes))
    }

    /// A whole number that must be there.
    pub fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| missing(key))
    }

    /// A whole number, or `None` where the key is absent.
    pub fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        let size = |number| usize::try_from(number).map_err(|_| not_whole(key));
        self.optional_integer(key)?.map(size).transpose()
    }

    /// A whole number of either sign, or `None` where the key is absent.
    pub fn optional_integer(&self, key: &str) -> Result<Option<i64>> {
        let number = match self.metadata.get(key) {
            None => return Ok(None),
            Some(Value::Unsigned(number)) => i64::try_from(*number).ok(),
            Some(Value::Signed(number)) => Some(*number),
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| not_whole(key))
    }

    /// A number, or `None` where the key is absent.
    pub fn optional_float(&self, key: &str) -> Result<Option<f64>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Float(number)) => Ok(Some(*number)),
            // Other programs' writers give whole numbers where they have some.
            Some(Value::Unsigned(number)) => Ok(Some(*number as f64)),
            Some(Value::Signed(number)) => Ok(Some(*number as f64)),
            Some(_) => Err(invalid(format!("`{key}` is not a number"))),
        }
    }

    /// A flag, or `None` where the key is absent.
    pub fn optional_bool(&self, key: &str) -> Result<Option<bool>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(invalid(format!("`{key}` is not a bool"))),
        }
    }

    /// Text, or `None` where the key is absent.
    pub fn optional_string(&self, key: &str) -> Result<Option<&str>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Bytes(_)) => Err(invalid(format!("`{key}` is not UTF-8"))),
            Some(_) => Err(invalid(format!("`{key}` is not a string"))),
        }
    }

    /// A list of texts that must be there.
    pub fn strings(&self, key: &str) -> Result<Vec<&str>> {
        let Some(Value::Array(values)) = self.metadata.get(key) else { return Err(missing(key)) };
        let texts = values.iter().map(|value| match value {
            Value::String(text) => Ok(text.as_str()),
            _ => Err(invalid(format!("`{key}` holds something that is not a string"))),
        });
        texts.collect()
    }

    /// A list of integers, or `None` where the key is absent.
    pub fn optional_integers(&self, key: &str) -> Result<Option<Vec<i64>>> {
        let wrong = || invalid(format!("`{key}` is not a list of integers"));
        let values = match self.metadata.get(key) {
            None => return Ok(None),
            Some(Value::Array(values)) => values,
            Some(_) => return Err(wrong()),
        };
        let numbers = values.iter().map(|value| match value {
            Value::Signed(number) => Ok(*number),
            Value::Unsigned(number) => i64::try_from(*number).map_err(|_| wrong()),
            _ => Err(wrong()),
        });
        numbers.collect::<Result<_>>().map(Some)
    }
}

impl fmt::Debug for Gguf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gguf").field("tensors", &self.tensors).finish_non_exhaustive()
    }
}

/// A tensor's header before its place in the file is known.
struct TensorHeader {
    name: String,
    stored: Stored,
    shape: Vec<usize>,
    offset: u64,
}

impl TensorHeader {
    fn locate(self, data_start: u64, file_len: usize) -> Result<TensorInfo> {
        let Self { name, stored, shape, offset } = self;
        let outside = || invalid(format!("the tensor `{name}` reaches past the end of the file"));
        let byte_count = stored.byte_count(&shape).ok_or_else(|| {
            invalid(format!("the tensor `{name}` of shape {shape:?} does not divide into {} blocks", stored.name()))
        })?;
        let start = data_start.checked_add(offset).and_then(|start| usize::try_from(start).ok()).ok_or_else(outside)?;
        let end = start.checked_add(byte_count).filter(|end| *end <= file_len).ok_or_else(outside)?;
        let (kind, packed) = stored.handed_out();
        Ok(TensorInfo { kind, packed, shape, range: start..end })
    }
}

/// Reads typed values one after another, each checked against what is left.
struct Reader<'a> {
    bytes: &'a [u8],
    file_len: usize,
    position: usize,
    values_left: u64,
    /// Whether something was asked for that the file has, but not its first bytes.
    goes_on: bool,
}

impl<'a> Reader<'a> {
    /// Metadata and tensors of the file.
    fn header(&mut self) -> Result<(BTreeMap<String, Value>, BTreeMap<String, TensorInfo>)> {
        if !self.bytes.starts_with(MAGIC) {
            refuse_another(Wanted::Gguf, ".gguf", "gguf-invalid", self.bytes)?;
        }
        if self.take(4)? != MAGIC {
            return Err(invalid("it does not begin with `GGUF`"));
        }
        let version = self.u32()?;
        if !VERSIONS.contains(&version) {
            let what = match VERSIONS.contains(&version.swap_bytes()) {
                true => "a GGUF file that is not little endian".into(),
                false => format!("version {version} of GGUF"),
            };
            return Err(Error::not_supported(what, "Take a little endian file of version 2 or 3."));
        }
        let tensor_count = self.u64()?;
        let metadata_count = self.u64()?;
        if tensor_count.max(metadata_count) > MAX_GGUF_ENTRIES {
            return Err(invalid(format!("it claims more than {MAX_GGUF_ENTRIES} tensors or metadata keys")));
        }

        let mut metadata = BTreeMap::new();
        for _ in 0..metadata_count {
            let key = self.string()?;
            let value_type = self.u32()?;
            let value = self.value(value_type, 0)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(invalid(format!("the metadata key `{key}` comes twice")));
            }
        }

        refuse_other_uses(&metadata)?; // before the tensors, which are of other types there

        let mut headers = Vec::new();
        for _ in 0..tensor_count {
            headers.push(self.tensor_header()?);
        }
        let data_start = align(self.position as u64, alignment(&metadata)?)?;
        let mut tensors = BTreeMap::new();
        for header in headers {
            let name = header.name.clone();
            let info = header.locate(data_start, self.file_len)?;
            if tensors.insert(name.clone(), info).is_some() {
                return Err(invalid(format!("the tensor `{name}` comes twice")));
            }
        }
        Ok((metadata, tensors))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.position..];
        let Some(taken) = rest.get(..count) else {
            self.goes_on = count <= self.file_len - self.position;
            return Err(match self.goes_on {
                true => invalid(format!("its header takes more than {} bytes", self.bytes.len())),
                false => invalid(format!("it ends early, at byte {}", self.file_len)),
            });
        };
        self.position += count;
        Ok(taken)
    }

    fn array<const COUNT: usize>(&mut self) -> Result<[u8; COUNT]> {
        let mut array = [0; COUNT];
        array.copy_from_slice(self.take(COUNT)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn string_bytes(&mut self) -> Result<&'a [u8]> {
        let length = usize::try_from(self.u64()?).map_err(|_| invalid("a string is longer than memory"))?;
        self.take(length)
    }

    fn string(&mut self) -> Result<String> {
        let text = std::str::from_utf8(self.string_bytes()?).map_err(|_| invalid("a name is not UTF-8"))?;
        Ok(text.to_owned())
    }

    fn value(&mut self, value_type: u32, depth: usize) -> Result<Value> {
        Ok(match value_type {
            0 => Value::Unsigned(u8::from_le_bytes(self.array()?).into()),
            1 => Value::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => match self.array()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => return Err(invalid(format!("a bool is {other}"))),
            },
            8 => {
                let bytes = self.string_bytes()?.to_owned();
                String::from_utf8(bytes).map_or_else(|error| Value::Bytes(error.into_bytes()), Value::String)
            }
            9 if depth < MAX_ARRAY_DEPTH => {
                let element_type = self.u32()?;
                let count = self.u64()?;
                // Not only what the file can hold: each of its bytes could become a value of 32.
                let left = self.values_left.checked_sub(count);
                self.values_left =
                    left.ok_or_else(|| invalid(format!("its arrays have over {MAX_GGUF_VALUES} values")))?;
                let mut elements = Vec::new();
                for _ in 0..count {
                    elements.push(self.value(element_type, depth + 1)?);
                }
                Value::Array(elements)
            }
            9 => return Err(invalid("arrays are nested too deeply")),
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(invalid(format!("unknown metadata type {other}"))),
        })
    }

    fn tensor_header(&mut self) -> Result<TensorHeader> {
        let name = self.string()?;
        let dims = self.u32()?;
        if !(1..=MAX_DIMS).contains(&dims) {
            return Err(invalid(format!("the tensor `{name}` has {dims} dimensions")));
        }
        let mut shape = Vec::new();
        for _ in 0..dims {
            let size =
                usize::try_from(self.u64()?).map_err(|_| invalid(format!("the tensor `{name}` is too large")))?;
            shape.push(size);
        }
        // Of no bytes, it could claim any number of rows without holding one.
        if shape.contains(&0) {
            return Err(invalid(format!("the tensor `{name}` holds no values")));
        }
        shape.reverse();
        let ggml_type = self.u32()?;
        let stored = Stored::of_number(ggml_type)
            .ok_or_else(|| Error::TensorType { name: name.clone(), dtype: type_name(ggml_type) })?;
        Ok(TensorHeader { name, stored, shape, offset: self.u64()? })
    }
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64> {
    match metadata.get("general.alignment") {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::Unsigned(number)) if *number > 0 && number % 8 == 0 => Ok(*number),
        Some(_) => Err(invalid("`general.alignment` is not a multiple of 8")),
    }
}

fn align(position: u64, alignment: u64) -> Result<u64> {
    position.checked_next_multiple_of(alignment).ok_or_else(|| invalid("`general.alignment` is too large"))
}

fn not_whole(key: &str) -> Error {
    invalid(format!("`{key}` is not a whole number that fits"))
}

fn missing(key: &str) -> Error {
    invalid(format!("`{key}` is missing"))
}

fn invalid(reason: impl Into<String>) -> Error {
    Error::Gguf(reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: &[u8] = include_bytes!("../../tests/fixtures/tiny.gguf");

    #[test]
    fn a_file_that_is_read_part_by_part_is_the_same() {
        let whole = Gguf::parse(TINY).unwrap();
        for first in [1, 7, 4096, TINY.len() - 1, TINY.len(), 2 * TINY.len()] {
            let parts = Gguf::open_from(first, TINY.len(), |range| Cow::Owned(TINY[range].to_vec())).unwrap();
            assert_eq!(parts.metadata(), whole.metadata());
            assert_eq!(parts.tensors(), whole.tensors());
            for name in whole.tensors().keys() {
                assert_eq!(parts.tensor(name).unwrap(), whole.tensor(name).unwrap(), "{name}");
            }
        }
    }

    #[test]
    fn no_more_is_read_of_what_is_no_header() {
        let mut broken = TINY.to_vec();
        broken[4] = 9; // the version
        let mut claims = TINY.to_vec();
        claims[24..32].copy_from_slice(&(1_u64 << 40).to_le_bytes()); // the length of the first key
        for (len, bytes) in [(TINY.len(), &broken), (TINY.len(), &claims), (TINY.len() - 1, &TINY.to_vec())] {
            let read = std::cell::Cell::new(0);
            let count = |range: Range<usize>| {
                read.set(range.end);
                Cow::Borrowed(&bytes[range])
            };
            let error = Gguf::open_from(64, len, count).unwrap_err();
            assert!(["gguf-invalid", "unsupported"].contains(&error.code()), "{error}");
            assert!(read.get() < TINY.len() / 2, "{} bytes", read.get());
        }
    }
}
