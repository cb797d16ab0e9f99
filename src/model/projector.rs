//! Projector: semantic tokens -> embeddings of the language model (paper section 3.2).

use burn::tensor::Tensor;

use crate::Result;
use crate::kernels::Gelu;
use crate::nn::linear::Linear;
use crate::nn::tensor_store::TensorStore;

/// Two layers, and the unit in which the language model reads and writes tokens; tensors `projector.*`.
#[derive(Debug)]
pub struct Projector {
    // Of the tokens of real images.
    mean: Tensor<2>, // [1, D]
    std: Tensor<2>,  // [1, D]
    fc1: Linear,
    fc2: Linear,
}

impl Projector {
    /// Takes its tensors, `projector.*`.
    ///
    /// # Errors
    /// What [`TensorStore::take`] says.
    pub fn load(store: &mut TensorStore, token_width: usize, hidden: usize) -> Result<Self> {
        Ok(Self {
            mean: store.take::<1>("projector.mean", [token_width])?.unsqueeze(),
            std: store.take::<1>("projector.std", [token_width])?.unsqueeze(),
            fc1: Linear::load(store, "projector.fc1", token_width, hidden)?,
            fc2: Linear::load(store, "projector.fc2", hidden, hidden)?,
        })
    }

    /// # Shapes
    /// - `tokens`, output: `[L, D]`
    pub fn normalize(&self, tokens: Tensor<2>) -> Tensor<2> {
        (tokens - self.mean.clone()) / self.std.clone()
    }

    /// # Shapes
    /// - `normal`, output: `[L, D]`
    pub fn denormalize(&self, normal: Tensor<2>) -> Tensor<2> {
        normal * self.std.clone() + self.mean.clone()
    }

    /// # Shapes
    /// - `normal`: `[L, D]` from [`Projector::normalize`]
    /// - output: `[L, H]`
    pub fn forward(&self, normal: Tensor<2>) -> Tensor<2> {
        self.fc2.forward(self.fc1.forward_gelu(normal, Gelu::Exact))
    }
}
