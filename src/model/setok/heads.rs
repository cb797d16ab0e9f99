//! Names for tokens: two linear heads trained beside the tokenizer (the paper's concept-level contrast, at our scale).

use burn::tensor::{Tensor, Transaction};

use crate::Result;
use crate::model::config::LabelsConfig;
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
    pub name: String,
    /// Probability of the name.
    pub confidence: f32,
    /// Nothing for what was not recoloured.
    pub color: Option<String>,
    /// A thing, not a background.
    pub is_object: bool,
}

impl NameHeads {
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
        let (name, color) = (argmax(names), argmax(colors));
        let total: f32 = names.iter().map(|logit| (logit - names[name]).exp()).sum();
        let color = &self.labels.colors[color];
        TokenName {
            name: self.labels.names[name].clone(),
            confidence: 1.0 / total,
            color: (color != NATURAL).then(|| color.clone()),
            is_object: name < self.labels.objects,
        }
    }
}

/// The colour label of what keeps its own colours.
const NATURAL: &str = "natural";

fn argmax(values: &[f32]) -> usize {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b]).then(b.cmp(&a))).unwrap_or(0)
}
