//! Rows of a matrix on the device, plain or packed. What is larger than one binding is a list of them.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::kernels::dense::linear;
use crate::kernels::epilogue::Epilogue;
use crate::kernels::quant_matmul::{Activations, PackedShape, pack, quant_matmul, quant_rows};

/// WebGPU promises no storage binding above 128 MiB.
pub const MAX_BINDING_WORDS: usize = (128 << 20) / 4;

/// Consecutive rows of a matrix `[N, K]`.
#[derive(Debug, Clone)]
pub enum Rows {
    /// Plain numbers, `[rows, columns]`.
    Dense(Tensor<2>),
    /// Packed rows.
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

    /// `x W^T`, with what goes with it.
    ///
    /// # Shapes
    /// - `x`: `[T, K]`, result: `[T, N]`, `[T, N / 2]` where it is passed through SwiGLU
    pub fn forward(&self, x: Tensor<2>, epilogue: Epilogue) -> Tensor<2> {
        match self {
            Self::Packed(rows) => quant_matmul(x, rows.words.clone(), epilogue, rows.shape, rows.activations),
            Self::Dense(weight) => linear(x, weight.clone().transpose(), epilogue),
        }
    }

    /// Both as one matrix, those of `self` first; none where they are of two kinds, or too large together.
    fn join(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Dense(first), Self::Dense(second)) => {
                let words = first.shape().num_elements() + second.shape().num_elements();
                let join = || Self::Dense(Tensor::cat(vec![first.clone(), second.clone()], 0));
                (words <= MAX_BINDING_WORDS).then(join)
            }
            (Self::Packed(first), Self::Packed(second)) => first.join(second).map(Self::Packed),
            _ => None,
        }
    }

    /// The same rows in as few parts as there can be.
    pub fn join_all(parts: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut joined: Vec<Self> = Vec::new();
        for part in parts {
            match joined.last_mut().and_then(|last| Some((last.join(&part)?, last))) {
                Some((both, last)) => *last = both,
                None => joined.push(part),
            }
        }
        joined
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
    fn join(&self, other: &Self) -> Option<Self> {
        let [first, second] = [self.shape, other.shape];
        let shape = PackedShape { rows: first.rows + second.rows, ..first };
        let is_same = first.kind == second.kind && self.activations == other.activations;
        // Scales are halves of words, and a matrix with an odd number of them leaves half a word empty.
        let has_no_gap = first.words() + second.words() == shape.words();
        if !is_same || !has_no_gap || shape.words() > MAX_BINDING_WORDS {
            return None;
        }
        // Quants of both, then scales of both, if they have any.
        let parts = [
            (self, 0..first.quant_words()),
            (other, 0..second.quant_words()),
            (self, first.quant_words()..first.words()),
            (other, second.quant_words()..second.words()),
        ];
        let parts = parts.into_iter().filter(|(_, range)| !range.is_empty());
        let parts = parts.map(|(rows, range)| rows.words.clone().narrow(0, range.start, range.len()));
        Some(Self { words: Tensor::cat(parts.collect(), 0), shape, activations: self.activations })
    }

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
