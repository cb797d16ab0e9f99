//! Names for tokens without heads of their own: of some plain nouns the one that the phrase encoder finds nearest.

use burn::tensor::Tensor;

use crate::Result;
use crate::model::config::LabelsConfig;
use crate::model::language::Language;
use crate::model::likeliest::likeliest;
use crate::model::phrase::PhraseEncoder;
use crate::model::setok::TokenName;
use crate::runtime::readback::read_floats;

/// What is said of a token that no noun fits well.
const UNSURE: &str = "something";

/// The nouns of `labels`, as the phrase encoder knows them.
#[derive(Debug)]
pub(super) struct NounNames {
    directions: Tensor<2>, // [P, W]
    labels: LabelsConfig,
}

impl NounNames {
    pub fn new(encoder: &PhraseEncoder, language: &Language, labels: &LabelsConfig) -> Result<Self> {
        let names: Vec<&str> = labels.names.iter().map(String::as_str).collect();
        Ok(Self { directions: encoder.encode(language.means_of_words(&names)?), labels: labels.clone() })
    }

    /// # Shapes
    /// - `tokens`: `[L, D]`
    pub async fn forward(&self, encoder: &PhraseEncoder, tokens: Tensor<2>) -> Result<Vec<TokenName>> {
        let logits = encoder.match_tokens(self.directions.clone(), tokens).transpose(); // [l, p]
        let logits = read_floats(logits).await?;
        Ok(logits.chunks_exact(self.labels.names.len()).map(|logits| self.name(logits)).collect())
    }

    /// The likeliest noun, its probability among all of them.
    fn name(&self, logits: &[f32]) -> TokenName {
        let (best, confidence) = likeliest(logits);
        let is_sure = confidence >= self.labels.unsure;
        let name = if is_sure { self.labels.names[best].clone() } else { UNSURE.into() };
        TokenName { name, confidence, color: None, is_object: is_sure && best < self.labels.objects }
    }
}
