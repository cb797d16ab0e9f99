//! A linear layer, with a bias or without, whose weights are either plain f32 or packed.

use burn::tensor::{Device, Tensor, TensorData};

use crate::formats::blocks::WeightKind;
use crate::formats::gguf::RawTensor;
use crate::kernels::Gelu;
use crate::kernels::decoder::{rms_norm, swiglu};
use crate::kernels::dense::gelu_of_kind;
use crate::kernels::epilogue::{Activation, Epilogue, Norm};
use crate::kernels::quant_matmul::{Activations, PackedShape};
use crate::nn::quantized_matrix::{MAX_BINDING_WORDS, PackedRows, Rows};
use crate::nn::tensor_store::TensorStore;
use crate::{Error, Result};

/// `y = x W^T + b`; as an embedding table, its rows by number.
#[derive(Debug, Clone)]
pub struct Linear {
    /// Row ranges of `[N, K]` in order, each small enough for one binding.
    parts: Vec<Rows>,
    /// `[N]`
    bias: Option<Tensor<1>>,
}

impl Linear {
    /// A matrix whose rows come in parts, of which there is at least one; no bias.
    pub fn new(parts: Vec<Rows>) -> Self {
        Self { parts, bias: None }
    }

    /// Takes `{name}.weight` `[output, input]` and `{name}.bias`.
    pub fn load(store: &mut TensorStore, name: &str, input: usize, output: usize) -> Result<Self> {
        let parts = store.take_rows(&format!("{name}.weight"), [output, input])?;
        Ok(Self { parts, bias: Some(store.take(&format!("{name}.bias"), [output])?) })
    }

    /// A 1 x 1 convolution over pixels that lie row by row: takes `{name}.weight` `[output, input, 1, 1]` and `{name}.bias`.
    pub fn load_pointwise(store: &mut TensorStore, name: &str, input: usize, output: usize) -> Result<Self> {
        let parts = store.take_rows(&format!("{name}.weight"), [output, input, 1, 1])?;
        Ok(Self { parts, bias: Some(store.take(&format!("{name}.bias"), [output])?) })
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
        Self::new(parts)
    }

    /// A matrix `[N, K]` of 32-bit floats in the packed layout, whose product with one token takes a norm along.
    ///
    /// # Panics
    /// Where the values do not fill it, or `columns` is no multiple of 4.
    pub fn from_values(values: &[f32], rows: usize, columns: usize, device: &Device) -> Self {
        let shape = PackedShape::new(WeightKind::F32, rows, columns).expect("columns come in fours");
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let parts = PackedRows::pack(&bytes, shape, MAX_BINDING_WORDS, device);
        Self::new(parts.into_iter().map(Rows::Packed).collect())
    }

    /// The rows of several matrices, which are read together, as one.
    pub fn joined(matrices: impl IntoIterator<Item = Self>) -> Self {
        Self::new(Rows::join_all(matrices.into_iter().flat_map(|matrix| matrix.parts)))
    }

    /// # Shapes
    /// - `x`: `[.., K]`, output: `[.., N]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.forward_with(x, Epilogue::default())
    }

    /// The GELU of its output.
    pub fn forward_gelu<const D: usize>(&self, x: Tensor<D>, gelu: Gelu) -> Tensor<D> {
        self.forward_with(x, Epilogue { activation: Some(Activation::Gelu(gelu)), ..Epilogue::default() })
    }

    /// Its output, cut off below 0 and above 6.
    pub fn forward_relu6<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.forward_with(x, Epilogue { activation: Some(Activation::Relu6), ..Epilogue::default() })
    }

    /// Its output, added to `residual`.
    ///
    /// # Shapes
    /// - `x`: `[.., K]`; `residual`, output: `[.., N]`
    pub fn forward_onto<const D: usize>(&self, residual: Tensor<D>, x: Tensor<D>) -> Tensor<D> {
        self.forward_with(x, Epilogue { residual: Some(residual.flatten(0, D - 2)), ..Epilogue::default() })
    }

    /// Its output with an epilogue, whose bias its own joins.
    ///
    /// # Shapes
    /// - `x`: `[.., K]`, output: `[.., N]`, `[.., N / 2]` through SwiGLU
    pub fn forward_with<const D: usize>(&self, x: Tensor<D>, epilogue: Epilogue) -> Tensor<D> {
        let mut dims = x.dims();
        let bias = match (&self.bias, epilogue.bias) {
            (Some(own), Some(other)) => Some(own.clone() + other),
            (own, other) => own.clone().or(other),
        };
        let epilogue = Epilogue { bias, ..epilogue };
        let y = self.multiply(x.flatten(0, D - 2), epilogue);
        [_, dims[D - 1]] = y.dims();
        y.reshape(dims)
    }

    fn multiply(&self, x: Tensor<2>, epilogue: Epilogue) -> Tensor<2> {
        if let [whole] = self.parts.as_slice() {
            return whole.forward(x, epilogue);
        }
        let Epilogue { norm, bias, activation, residual, is_swiglu } = epilogue;
        let x = if let Some(Norm { weight, eps }) = norm { rms_norm(x, weight, eps) } else { x };
        let y = concatenate(self.parts.iter().map(|part| part.forward(x.clone(), Epilogue::default())).collect(), 1);
        let y = if let Some(bias) = bias { y + bias.unsqueeze() } else { y };
        let y = match activation {
            Some(Activation::Gelu(gelu)) => gelu_of_kind(y, gelu),
            Some(Activation::Relu6) => y.clamp(0.0, 6.0),
            None => y,
        };
        let y = if is_swiglu { swiglu(y) } else { y };
        if let Some(residual) = residual { y + residual } else { y }
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

    /// The only part, if there is one.
    pub fn whole(&self) -> Option<&Rows> {
        if let [whole] = self.parts.as_slice() { Some(whole) } else { None }
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

    #[test]
    fn joined_matrices_are_one_where_their_words_have_no_gaps() {
        let device = Device::flex();
        let x = Tensor::<2>::from_data(TensorData::new((0..128).map(|i| i as f32 / 50.0).collect(), [2, 64]), &device);
        for (kind, rows, parts) in [
            (WeightKind::Q8_0, [3, 4], 1),
            (WeightKind::Q4_1, [1, 2], 1),
            (WeightKind::F16, [3, 2], 1),
            (WeightKind::F32, [2, 5], 1),
        ] {
            let matrix = |rows: usize, seed: usize| {
                let bytes = (0..kind.byte_count(&[rows, 64]).unwrap()).map(|i| ((i * 37 + seed) % 60) as u8);
                let raw = RawTensor { kind, shape: vec![rows, 64], bytes: Cow::Owned(bytes.collect()) };
                Linear::from_raw(&raw, rows, 64, Activations::Exact, &device)
            };
            let both = [matrix(rows[0], 1), matrix(rows[1], 2)];
            let apart = Tensor::cat(both.iter().map(|matrix| matrix.forward(x.clone())).collect(), 1);
            let joined = Linear::joined(both);
            assert_eq!(joined.parts.len(), parts, "{kind:?}");
            assert_eq!(numbers(joined.forward(x.clone())), numbers(apart), "{kind:?}");
        }
    }

    #[test]
    fn what_cannot_be_one_matrix_gives_the_same_in_parts() {
        let device = Device::flex();
        let x = Tensor::<2>::from_data(TensorData::new((0..64).map(|i| i as f32 / 50.0).collect(), [2, 32]), &device);
        let matrix = |kind: WeightKind, rows: usize| {
            let bytes = (0..kind.byte_count(&[rows, 32]).unwrap()).map(|i| (i * 37 % 60) as u8);
            let raw = RawTensor { kind, shape: vec![rows, 32], bytes: Cow::Owned(bytes.collect()) };
            Linear::from_raw(&raw, rows, 32, Activations::Exact, &device)
        };
        // An odd number of scales, and two kinds.
        for both in [
            [matrix(WeightKind::Q8_0, 3), matrix(WeightKind::Q8_0, 3)],
            [matrix(WeightKind::Q8_0, 2), matrix(WeightKind::F16, 4)],
        ] {
            let apart = Tensor::cat(both.iter().map(|matrix| matrix.forward(x.clone())).collect(), 1);
            let joined = Linear::joined(both);
            assert_eq!(joined.parts.len(), 2);
            assert_eq!(numbers(joined.forward(x.clone())), numbers(apart.clone()));
            let norm = Norm { weight: Tensor::ones([32], &device), eps: 1e-5 };
            let epilogue = Epilogue { norm: Some(norm.clone()), is_swiglu: true, ..Epilogue::default() };
            let known = swiglu(joined.forward(rms_norm(x.clone(), norm.weight, norm.eps)));
            assert_eq!(numbers(joined.forward_with(x.clone(), epilogue)), numbers(known));
        }
    }
}
