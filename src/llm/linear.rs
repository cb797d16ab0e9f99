//! A linear layer without bias, whose weights are either plain f32 or packed.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::gguf::RawTensor;
use crate::kernels::quant_matmul::{Activations, PackedShape, WeightKind};
use crate::matrix::{MAX_BINDING_WORDS, PackedRows, Rows};
use crate::{Error, Result};

/// `y = x W^T`; as an embedding table, its rows by number.
#[derive(Debug, Clone)]
pub struct Linear {
    /// Row ranges of `[N, K]` in order, each small enough for one binding.
    parts: Vec<Rows>,
}

impl Linear {
    /// A matrix whose rows come in parts, of which there is at least one.
    pub fn new(parts: Vec<Rows>) -> Self {
        Self { parts }
    }

    /// Keeps a matrix `[N, K]` of a GGUF file as it is stored; only what cannot be kept packed becomes f32.
    pub fn from_raw(
        raw: &RawTensor<'_>,
        rows: usize,
        columns: usize,
        activations: Activations,
        device: &Device,
    ) -> Self {
        let parts = match PackedShape::new(raw.kind, rows, columns) {
            // Plain f32 goes to burn's own product, as long as it fits one binding.
            Some(shape) if raw.kind != WeightKind::F32 || shape.words() > MAX_BINDING_WORDS => {
                let parts = PackedRows::pack(&raw.bytes, shape, MAX_BINDING_WORDS, device);
                parts.into_iter().map(|rows| Rows::Packed(rows.with(activations))).collect()
            }
            _ => vec![Rows::Dense(Tensor::from_data(TensorData::new(raw.to_f32(), [rows, columns]), device))],
        };
        Self { parts }
    }

    /// # Shapes
    /// - `x`: `[T, K]`, result: `[T, N]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        concatenate(self.parts.iter().map(|part| part.forward(x.clone())).collect(), 1)
    }

    /// `y = x W^T + bias + stream`.
    ///
    /// # Shapes
    /// - `x`: `[T, K]`, `bias`: `[N]`, `stream`, result: `[T, N]`
    pub fn forward_plus(&self, x: Tensor<2>, bias: Option<Tensor<1>>, stream: Option<Tensor<2>>) -> Tensor<2> {
        if let [whole] = self.parts.as_slice() {
            return whole.forward_plus(x, bias, stream);
        }
        let y = self.forward(x);
        let y = if let Some(bias) = bias { y + bias.unsqueeze() } else { y };
        if let Some(stream) = stream { y + stream } else { y }
    }

    /// Rows by their numbers, which must be below the number of rows.
    ///
    /// # Shapes
    /// - `ids`: `[T]`, result: `[T, K]`
    pub fn rows(&self, ids: &[u32]) -> Tensor<2> {
        match self.parts.as_slice() {
            [whole] => whole.select(ids),
            parts => concatenate(ids.iter().map(|&id| row(parts, id as usize)).collect(), 0),
        }
    }

    /// As [`Linear::rows`], with numbers that are on the device; `None` for a matrix in several parts.
    pub fn rows_at(&self, ids: Tensor<1, Int>) -> Option<Tensor<2>> {
        if let [whole] = self.parts.as_slice() { Some(whole.select_at(ids)) } else { None }
    }
}

/// One row of a matrix in several parts.
fn row(parts: &[Rows], id: usize) -> Tensor<2> {
    let (mut part, mut id) = (0, id);
    while part + 1 < parts.len() && id >= parts[part].count() {
        id -= parts[part].count();
        part += 1;
    }
    parts[part].select(&[id as u32])
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

    fn numbers(tensor: Tensor<2>) -> Vec<f32> {
        tensor.into_data().try_into_vec::<f32>().unwrap()
    }

    #[test]
    fn a_matrix_in_parts_is_the_same_matrix() {
        let (rows, columns, device) = (11, 64, Device::flex());
        // Blocks of scale 1 (0x3c00 as f16) with quants that differ from row to row.
        let block = |i: u8| [0x00, 0x3c].into_iter().chain((0..32).map(move |j| i.wrapping_mul(37).wrapping_add(j)));
        let bytes: Vec<u8> = (0..22).flat_map(block).collect();
        let raw = RawTensor { kind: WeightKind::Q8_0, shape: vec![rows, columns], bytes: Cow::Owned(bytes) };
        let shape = PackedShape::new(raw.kind, rows, columns).unwrap();

        let whole = Linear::from_raw(&raw, rows, columns, Activations::Exact, &device);
        let parts = PackedRows::pack(&raw.bytes, shape, 4 * shape.words() / rows + 4, &device);
        let exact = |rows: PackedRows| Rows::Packed(rows.with(Activations::Exact));
        let mut parts: Vec<Rows> = parts.into_iter().map(exact).collect();
        assert_eq!(parts.iter().map(Rows::count).collect::<Vec<_>>(), [4, 4, 3]);
        let middle = parts[1].clone().into_dense();
        parts[1] = Rows::Dense(middle);
        let parts = Linear::new(parts);

        let x = Tensor::<2>::from_data(TensorData::new((0..192).map(|i| i as f32).collect(), [3, 64]), &device);
        assert_eq!(numbers(parts.forward(x.clone())), numbers(whole.forward(x)));
        assert_eq!(numbers(parts.rows(&[10, 0, 4, 7])), numbers(whole.rows(&[10, 0, 4, 7])));
    }
}
