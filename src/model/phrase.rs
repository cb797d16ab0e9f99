//! Phrases beside tokens and patches, without the language model: what a phrase means and what a token shows are directions
//! in one space, compared by their cosine (the paper's concept-level contrast).

use burn::tensor::Tensor;

use crate::Result;
use crate::kernels::Gelu;
use crate::kernels::dense::matmul;
use crate::model::config::PhraseConfig;
use crate::nn::linear::Linear;
use crate::nn::tensor_store::TensorStore;

/// Tensors `phrase.{fc1, fc2, of_token, of_cell, scale}`.
#[derive(Debug)]
pub struct PhraseEncoder {
    fc1: Linear,
    fc2: Linear,
    of_token: Linear,
    of_cell: Linear,
    /// Logarithms of what makes logits of cosines with tokens, and with cells. `[2]`
    scale: Tensor<1>,
}

impl PhraseEncoder {
    /// `token_width` D and `cell_width` C are what phrases are compared with.
    pub fn load(store: &mut TensorStore, config: &PhraseConfig, token_width: usize, cell_width: usize) -> Result<Self> {
        Ok(Self {
            fc1: Linear::load(store, "phrase.fc1", config.input, config.hidden)?,
            fc2: Linear::load(store, "phrase.fc2", config.hidden, config.width)?,
            of_token: Linear::load(store, "phrase.of_token", token_width, config.width)?,
            of_cell: Linear::load(store, "phrase.of_cell", cell_width, config.width)?,
            scale: store.take("phrase.scale", [2])?,
        })
    }

    /// Directions of phrases, each the mean of the language model's embeddings of `" " + phrase` in lower case.
    ///
    /// # Shapes
    /// - `means`: `[P, H]`, output: `[P, W]`, rows of length 1
    pub fn encode(&self, means: Tensor<2>) -> Tensor<2> {
        of_length_one(self.fc2.forward(self.fc1.forward_gelu(means, Gelu::Exact)))
    }

    /// Logits of phrases with tokens: cosines times the learned scale.
    ///
    /// # Shapes
    /// - `phrases`: `[P, W]` from [`PhraseEncoder::encode`], `tokens`: `[L, D]`, output: `[P, L]`
    pub fn match_tokens(&self, phrases: Tensor<2>, tokens: Tensor<2>) -> Tensor<2> {
        self.compare(phrases, self.of_token.forward(tokens), 0)
    }

    /// Logits of phrases with patches.
    ///
    /// # Shapes
    /// - `phrases`: `[P, W]` from [`PhraseEncoder::encode`], `features`: `[N, C]` as they were clustered, output: `[P, N]`
    pub fn match_cells(&self, phrases: Tensor<2>, features: Tensor<2>) -> Tensor<2> {
        self.compare(phrases, self.of_cell.forward(features), 1)
    }

    fn compare(&self, phrases: Tensor<2>, seen: Tensor<2>, scale: usize) -> Tensor<2> {
        let cosines = matmul(phrases, of_length_one(seen).transpose());
        cosines * self.scale.clone().narrow(0, scale, 1).exp().unsqueeze()
    }
}

/// Rows over their lengths; one of zeros stays so.
fn of_length_one(x: Tensor<2>) -> Tensor<2> {
    const SMALLEST: f32 = 1e-12; // as in PyTorch
    let length = (x.clone() * x.clone()).sum_dim(1).sqrt().clamp_min(SMALLEST);
    x / length
}
