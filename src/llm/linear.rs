//! A linear layer without bias, whose weights are either plain f32 or packed.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::gguf::RawTensor;
use crate::kernels::quant_matmul::{PackedShape, WeightKind, pack, quant_matmul, quant_rows};
use crate::{Error, Result};

/// WebGPU promises no storage binding above 128 MiB.
const MAX_BINDING_WORDS: usize = (128 << 20) / 4;

/// `y = x W^T`; as an embedding table, its rows by number.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "a few dozen live as long as the model: a box would only add an indirection"
)]
pub enum Linear {
    /// `[N, K]` as f32.
    Dense(Tensor<2>),
    /// Row ranges of `[N, K]`, each small enough for one binding.
    Packed(Vec<PackedRows>),
}

/// Consecutive rows of a matrix, packed.
#[derive(Debug, Clone)]
pub struct PackedRows {
    words: Tensor<1, Int>,
    shape: PackedShape,
}

impl Linear {
    /// Keeps a matrix `[N, K]` of a GGUF file as it is stored; only what cannot be kept packed becomes f32.
    pub fn from_raw(raw: &RawTensor<'_>, rows: usize, columns: usize, device: &Device) -> Self {
        match PackedShape::new(raw.kind, rows, columns) {
            // Plain f32 goes to burn's own product, as long as it fits one binding.
            Some(shape) if raw.kind != WeightKind::F32 || shape.words() > MAX_BINDING_WORDS => {
                Self::Packed(pack_rows(raw, shape, MAX_BINDING_WORDS, device))
            }
            _ => Self::Dense(Tensor::from_data(TensorData::new(raw.to_f32(), [rows, columns]), device)),
        }
    }

    /// # Shapes
    /// - `x`: `[T, K]`, result: `[T, N]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Dense(weight) => x.matmul(weight.clone().transpose()),
            Self::Packed(parts) => {
                let outs = parts.iter().map(|part| quant_matmul(x.clone(), part.words.clone(), part.shape));
                concatenate(outs.collect(), 1)
            }
        }
    }

    /// Rows by their numbers, which must be below the number of rows.
    ///
    /// # Shapes
    /// - `ids`: `[T]`, result: `[T, K]`
    pub fn rows(&self, ids: &[u32], device: &Device) -> Tensor<2> {
        match self {
            Self::Dense(weight) => weight.clone().select(0, indices(ids, device)),
            Self::Packed(parts) if parts.len() == 1 => {
                quant_rows(parts[0].words.clone(), indices(ids, device), parts[0].shape)
            }
            Self::Packed(parts) => {
                let outs = ids.iter().map(|&id| packed_row(parts, id as usize, device));
                concatenate(outs.collect(), 0)
            }
        }
    }
}

/// Packs a matrix into parts of at most `max_words` words each, or a single row.
fn pack_rows(raw: &RawTensor<'_>, shape: PackedShape, max_words: usize, device: &Device) -> Vec<PackedRows> {
    let row_bytes = raw.bytes.len() / shape.rows;
    let row_words = shape.words().div_ceil(shape.rows);
    let rows_per_part = (max_words / row_words).max(1);
    let parts = raw.bytes.chunks(rows_per_part * row_bytes).map(|bytes| {
        let shape = PackedShape { rows: bytes.len() / row_bytes, ..shape };
        let words = pack(bytes, shape);
        let count = words.len();
        let words = Tensor::from_data(TensorData::new(words, [count]), (device, DType::U32));
        PackedRows { words, shape }
    });
    parts.collect()
}

/// One row of a matrix in several parts.
fn packed_row(parts: &[PackedRows], id: usize, device: &Device) -> Tensor<2> {
    // Every part but the last has as many rows as the first.
    let rows_per_part = parts[0].shape.rows;
    let part = &parts[id / rows_per_part];
    quant_rows(part.words.clone(), indices(&[(id % rows_per_part) as u32], device), part.shape)
}

fn indices(ids: &[u32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(ids.to_vec(), [ids.len()]), (device, DType::U32))
}

/// `Tensor::cat` that leaves a single tensor alone.
fn concatenate(mut tensors: Vec<Tensor<2>>, dim: usize) -> Tensor<2> {
    if tensors.len() == 1 { tensors.swap_remove(0) } else { Tensor::cat(tensors, dim) }
}

/// Fails where an id has no row.
pub fn check_ids(ids: &[u32], rows: usize) -> Result<()> {
    match ids.iter().find(|&&id| id as usize >= rows) {
        Some(id) => Err(Error::Tokenizer(format!("token {id} is outside the model's {rows} embeddings"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[test]
    fn a_matrix_in_parts_is_the_same_matrix() {
        let (rows, columns, device) = (11, 64, Device::flex());
        // Blocks of scale 1 (0x3c00 as f16) with quants that differ from row to row.
        let block = |i: u8| [0x00, 0x3c].into_iter().chain((0..32).map(move |j| i.wrapping_mul(37).wrapping_add(j)));
        let bytes: Vec<u8> = (0..22).flat_map(block).collect();
        let raw = RawTensor { kind: WeightKind::Q8_0, shape: vec![rows, columns], bytes: Cow::Owned(bytes) };
        let shape = PackedShape::new(raw.kind, rows, columns).unwrap();

        let whole = Linear::from_raw(&raw, rows, columns, &device);
        let parts = pack_rows(&raw, shape, 4 * shape.words() / rows + 4, &device);
        assert_eq!(parts.iter().map(|part| part.shape.rows).collect::<Vec<_>>(), [4, 4, 3]);
        let parts = Linear::Packed(parts);

        let x = Tensor::<2>::from_data(TensorData::new((0..192).map(|i| i as f32).collect(), [3, 64]), &device);
        let numbers = |tensor: Tensor<2>| tensor.into_data().try_into_vec::<f32>().unwrap();
        assert_eq!(numbers(parts.forward(x.clone())), numbers(whole.forward(x)));
        assert_eq!(numbers(parts.rows(&[10, 0, 4], &device)), numbers(whole.rows(&[10, 0, 4], &device)));
    }
}
