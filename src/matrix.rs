//! Rows of a matrix on the device, plain or packed. What is larger than one binding is a list of them.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::kernels::dense::linear;
use crate::kernels::quant_matmul::{Activations, PackedShape, Plus, pack, quant_matmul, quant_rows};

/// WebGPU promises no storage binding above 128 MiB.
pub const MAX_BINDING_WORDS: usize = (128 << 20) / 4;

/// Consecutive rows of a matrix `[N, K]`.
#[derive(Debug, Clone)]
pub enum Rows {
    Dense(Tensor<2>),
    Packed(PackedRows),
}

/// Consecutive rows, packed as `kernels/quant_matmul.rs` says.
#[derive(Debug, Clone)]
pub struct PackedRows {
    words: Tensor<1, Int>,
    shape: PackedShape,
    activations: Activations,
}

impl Rows {
    /// Rows in this part.
    pub fn count(&self) -> usize {
        match self {
            Self::Dense(weight) => weight.dims()[0],
            Self::Packed(rows) => rows.shape.rows,
        }
    }

    /// `x W^T`.
    ///
    /// # Shapes
    /// - `x`: `[T, K]`, result: `[T, N]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.forward_plus(x, None, None)
    }

    /// `x W^T + bias + stream`.
    ///
    /// # Shapes
    /// - `x`: `[T, K]`, `bias`: `[N]`, `stream`, result: `[T, N]`
    pub fn forward_plus(&self, x: Tensor<2>, bias: Option<Tensor<1>>, stream: Option<Tensor<2>>) -> Tensor<2> {
        match (self, stream) {
            (Self::Packed(rows), stream) => {
                quant_matmul(x, rows.words.clone(), Plus { bias, stream }, rows.shape, rows.activations)
            }
            (Self::Dense(weight), Some(stream)) => linear(x, weight.clone().transpose(), bias) + stream,
            (Self::Dense(weight), None) => linear(x, weight.clone().transpose(), bias),
        }
    }

    /// Rows by their numbers, which must be below [`Rows::count`].
    ///
    /// # Shapes
    /// - `ids`: `[T]`, result: `[T, K]`
    pub fn select(&self, ids: &[u32]) -> Tensor<2> {
        let device = match self {
            Self::Dense(weight) => weight.device(),
            Self::Packed(rows) => rows.words.device(),
        };
        self.select_at(Tensor::from_data(TensorData::new(ids.to_vec(), [ids.len()]), (&device, DType::U32)))
    }

    /// As [`Rows::select`], with numbers that are on the device.
    pub fn select_at(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        match self {
            Self::Dense(weight) => weight.clone().select(0, ids),
            Self::Packed(rows) => quant_rows(rows.words.clone(), ids, rows.shape),
        }
    }

    /// All of them as f32, `[N, K]`.
    pub fn into_dense(self) -> Tensor<2> {
        match self {
            Self::Dense(weight) => weight,
            Self::Packed(rows) => {
                let ids = Tensor::arange(0..rows.shape.rows as i64, (&rows.words.device(), DType::U32));
                quant_rows(rows.words, ids, rows.shape)
            }
        }
    }
}

impl PackedRows {
    /// The same rows, multiplied with activations of this kind.
    pub fn with(self, activations: Activations) -> Self {
        Self { activations, ..self }
    }

    /// Packs the blocks of a file, which must be as many as `shape` asks for, in parts of at most `max_words` words each,
    /// or a single row.
    pub fn pack(bytes: &[u8], shape: PackedShape, max_words: usize, device: &Device) -> Vec<Self> {
        let row_bytes = bytes.len() / shape.rows;
        let row_words = PackedShape { rows: 1, ..shape }.words();
        let rows_per_part = (max_words / row_words).max(1);
        let parts = bytes.chunks(rows_per_part * row_bytes).map(|bytes| {
            let shape = PackedShape { rows: bytes.len() / row_bytes, ..shape };
            let words = pack(bytes, shape);
            let count = words.len();
            let words = Tensor::from_data(TensorData::new(words, [count]), (device, DType::U32));
            Self { words, shape, activations: Activations::default() }
        });
        parts.collect()
    }
}
