//! Names for tokens: two linear heads trained beside the tokenizer (the paper's concept-level contrast, at our scale).

use burn::tensor::{Tensor, Transaction};

use crate::Result;
use crate::model::config::{FamiliarityConfig, LabelsConfig};
use crate::model::likeliest::{argmax, likeliest};
use crate::nn::linear::Linear;
use crate::nn::tensor_store::TensorStore;
use crate::runtime::readback::{read_together, values};

/// Says what a token shows; tensors `heads.{name,color}`.
#[derive(Debug)]
pub struct NameHeads {
    name: Linear,
    color: Linear,
    labels: LabelsConfig,
}

/// The most likely name of a token.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TokenName {
    /// What it shows, such as "dog" or "grass".
    pub name: String,
    /// Probability of the name.
    pub confidence: f32,
    /// Nothing for what was not recoloured.
    pub color: Option<String>,
    /// A thing, not a background.
    pub is_object: bool,
}

/// What the tokens of an image show, in words.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TokenNames {
    /// One for each token, in their order.
    pub names: Vec<TokenName>,
    /// Whether the image is unlike those that the model was trained on, so that mistakes are to be expected; none for a
    /// model that cannot tell.
    pub unfamiliar: Option<bool>,
}

impl NameHeads {
    /// Takes their tensors, `heads.*`, for tokens of `token_width`.
    ///
    /// # Errors
    /// What [`TensorStore::take`] says.
    pub fn load(store: &mut TensorStore, labels: &LabelsConfig, token_width: usize) -> Result<Self> {
        Ok(Self {
            name: Linear::load(store, "heads.name", token_width, labels.names.len())?,
            color: Linear::load(store, "heads.color", token_width, labels.colors.len())?,
            labels: labels.clone(),
        })
    }

    /// # Shapes
    /// - `tokens`: `[L, D]`
    pub async fn forward(&self, tokens: Tensor<2>) -> Result<Vec<TokenName>> {
        let read =
            Transaction::default().register(self.name.forward(tokens.clone())).register(self.color.forward(tokens));
        let [names, colors] = read_together(read).await?.map(values::<f32>);
        let names = names.chunks_exact(self.labels.names.len());
        let colors = colors.chunks_exact(self.labels.colors.len());
        Ok(names.zip(colors).map(|(names, colors)| self.read(names, colors)).collect())
    }

    fn read(&self, names: &[f32], colors: &[f32]) -> TokenName {
        let (name, confidence) = likeliest(names);
        let color = &self.labels.colors[argmax(colors)];
        TokenName {
            name: self.labels.names[name].clone(),
            confidence,
            color: (Some(color) != self.labels.natural.as_ref()).then(|| color.clone()),
            is_object: name < self.labels.objects,
        }
    }
}

impl FamiliarityConfig {
    /// Whether the names of tokens, which have so many patches each, are too unsure for an image of a known kind. There is at
    /// least one token.
    pub(crate) fn is_unfamiliar(&self, names: &[TokenName], patches: &[usize]) -> bool {
        let backgrounds = names.iter().filter(|name| !name.is_object);
        let surest = backgrounds.map(|name| f64::from(name.confidence)).fold(0.0, f64::max);
        let total: f64 = patches.iter().map(|&patches| patches as f64).sum();
        let sum: f64 =
            names.iter().zip(patches).map(|(name, &patches)| f64::from(name.confidence) * patches as f64).sum();
        surest < self.background || sum / total < self.mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_familiar_image_has_a_sure_background_and_is_mostly_clear() {
        let familiarity = FamiliarityConfig { background: 0.995, mean: 0.96 };
        let is_unfamiliar = |tokens: &[(usize, f32, bool)]| {
            let name = |&(_, confidence, is_object)| TokenName { name: "x".into(), confidence, color: None, is_object };
            let patches: Vec<usize> = tokens.iter().map(|token| token.0).collect();
            familiarity.is_unfamiliar(&tokens.iter().map(name).collect::<Vec<_>>(), &patches)
        };
        assert!(!is_unfamiliar(&[(240, 0.999, false), (16, 0.5, true)]), "one thing is in doubt");
        assert!(is_unfamiliar(&[(200, 0.98, false), (56, 0.999, true)]), "no background for sure");
        assert!(is_unfamiliar(&[(100, 0.999, false), (156, 0.5, true)]), "most of it is in doubt");
        assert!(is_unfamiliar(&[(256, 0.999, true)]), "no background at all");
    }
}
