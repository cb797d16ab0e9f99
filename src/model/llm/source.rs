//! Where a language model's weights come from: safetensors in a [`TensorStore`], or a GGUF file. Both are asked by
//! Hugging Face names.

use burn::tensor::Tensor;

use crate::Result;
use crate::nn::linear::Linear;
use crate::nn::tensor_store::TensorStore;

/// Gives out weights by their Hugging Face name, such as `model.layers.0.self_attn.q_proj.weight`.
pub trait WeightSource {
    /// The matrix of a linear layer or an embedding table, as it is to be kept in memory.
    ///
    /// # Shapes
    /// - result: `[rows, columns]`, which are the outputs and the inputs of a layer
    fn linear(&mut self, name: &str, rows: usize, columns: usize) -> Result<Linear>;

    /// A vector as f32.
    fn vector(&mut self, name: &str, width: usize) -> Result<Tensor<1>>;

    /// What divides the rotary speeds, where a file brings its own.
    fn rope_divisors(&self) -> Result<Option<Vec<f32>>> {
        Ok(None)
    }
}

impl WeightSource for TensorStore {
    fn linear(&mut self, name: &str, rows: usize, columns: usize) -> Result<Linear> {
        Ok(Linear::new(self.take_rows(name, [rows, columns])?))
    }

    fn vector(&mut self, name: &str, width: usize) -> Result<Tensor<1>> {
        self.take(name, [width])
    }
}
