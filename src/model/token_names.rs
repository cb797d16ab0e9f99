//! Names for tokens of a photo model: a linear layer for what its captions name, and the encoder's own classes, folded into
//! plain nouns, for what they do not.

use burn::tensor::{Tensor, Transaction};

use crate::Result;
use crate::model::config::LabelsConfig;
use crate::model::likeliest::{argmax, probabilities};
use crate::model::setok::TokenName;
use crate::model::vision::EfficientNet;
use crate::nn::linear::Linear;
use crate::nn::tensor_store::TensorStore;
use crate::runtime::readback::{read_together, values};

/// What is said of a token that no noun fits well.
const UNSURE: &str = "something";

/// Of the names of some tokens those that are sure, each once, at most `most`.
pub(super) fn known_names<'a>(names: impl Iterator<Item = &'a TokenName>, most: usize) -> Vec<String> {
    let mut known: Vec<String> = Vec::new();
    for TokenName { name, .. } in names {
        if known.len() < most && name != UNSURE && !known.contains(name) {
            known.push(name.clone());
        }
    }
    known
}

/// Says what a token shows by the encoder's head map, pooled over it; tensors `names.{weight,bias}`.
#[derive(Debug)]
pub(super) struct NounNames {
    /// Its last row is for none of the names.
    linear: Linear,
    nouns: Nouns,
}

impl NounNames {
    /// `head` is the number of the head map's channels.
    ///
    /// # Errors
    /// What [`TensorStore::take`] says.
    pub fn load(store: &mut TensorStore, labels: &LabelsConfig, head: usize) -> Result<Self> {
        let linear = Linear::load(store, "names", head, labels.names.len() + 1)?;
        Ok(Self { linear, nouns: Nouns::new(labels.clone()) })
    }

    /// # Shapes
    /// - `pooled`: `[L, head]`, means of the head map over each token
    pub async fn forward(&self, encoder: &EfficientNet, pooled: Tensor<2>) -> Result<Vec<TokenName>> {
        let (names, classes) = (self.linear.forward(pooled.clone()), encoder.classify(pooled));
        let ([_, names_each], [_, classes_each]) = (names.dims(), classes.dims());
        let read = Transaction::default().register(names).register(classes);
        let [names, classes] = read_together(read).await?.map(values::<f32>);
        let tokens = names.chunks_exact(names_each).zip(classes.chunks_exact(classes_each));
        Ok(tokens.map(|(names, classes)| self.nouns.likeliest(names, classes)).collect())
    }
}

/// What logits mean in words.
#[derive(Debug)]
struct Nouns {
    labels: LabelsConfig,
    /// Nouns of the encoder's classes, each once.
    of_classes: Vec<String>,
    /// For each class the place of its noun; none where it is not worth a name.
    places: Vec<Option<usize>>,
}

impl Nouns {
    fn new(labels: LabelsConfig) -> Self {
        let mut of_classes: Vec<String> = labels.classes.iter().filter(|noun| !noun.is_empty()).cloned().collect();
        of_classes.sort_unstable();
        of_classes.dedup();
        let places = labels.classes.iter().map(|noun| of_classes.binary_search(noun).ok()).collect();
        Self { labels, of_classes, places }
    }

    /// The likeliest noun by either. `names` has one logit more than there are names, that of none of them.
    fn likeliest(&self, names: &[f32], classes: &[f32]) -> TokenName {
        let names = probabilities(names);
        let learned = argmax(&names[..names.len() - 1]);
        let classes = self.fold(&probabilities(classes));
        let folded = argmax(&classes);
        let of_class = classes.get(folded).copied().unwrap_or(0.0);
        let (name, confidence, is_object) = match of_class > names[learned] {
            true => (&self.of_classes[folded], of_class, true),
            false => (&self.labels.names[learned], names[learned], learned < self.labels.objects),
        };
        match confidence >= self.labels.unsure {
            true => TokenName { name: name.clone(), confidence, color: None, is_object },
            false => TokenName { name: UNSURE.into(), confidence, color: None, is_object: false },
        }
    }

    /// Probabilities of classes -> of their nouns.
    fn fold(&self, classes: &[f32]) -> Vec<f32> {
        let mut nouns = vec![0.0; self.of_classes.len()];
        for (place, probability) in self.places.iter().zip(classes) {
            if let Some(place) = place {
                nouns[*place] += probability;
            }
        }
        nouns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thing and a background; two breeds of one noun, a class not worth a name, another noun.
    fn nouns() -> Nouns {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        Nouns::new(LabelsConfig {
            names: words(&["person", "grass"]),
            objects: 1,
            colors: Vec::new(),
            classes: words(&["dog", "dog", "", "cat"]),
            unsure: 0.6,
            natural: None,
        })
    }

    const NEITHER: [f32; 3] = [0.0, 0.0, 9.0];
    const NO_CLASS: [f32; 4] = [0.0; 4];

    #[test]
    fn names_are_told_once_and_only_sure_ones() {
        let named = |name: &str| TokenName { name: name.into(), confidence: 0.5, color: None, is_object: true };
        let names = ["dog", UNSURE, "grass", "dog", "sky"].map(named);
        assert_eq!(known_names(names.iter(), 2), ["dog", "grass"]);
        assert_eq!(known_names(names.iter(), 9), ["dog", "grass", "sky"]);
    }

    #[test]
    fn breeds_of_one_noun_count_together() {
        // Each of them is less likely than the cat, both together are likelier.
        let name = nouns().likeliest(&NEITHER, &[1.0, 1.0, -9.0, 1.2]);
        assert_eq!((name.name.as_str(), name.is_object), ("dog", true));
        assert!((name.confidence - 0.62).abs() < 0.01, "{}", name.confidence);
    }

    #[test]
    fn the_surer_of_both_names() {
        assert_eq!(nouns().likeliest(&[9.0, 0.0, 0.0], &[2.0, 0.0, 0.0, 0.0]).name, "person");
        let name = nouns().likeliest(&[0.0, 9.0, 0.0], &NO_CLASS);
        assert_eq!((name.name.as_str(), name.is_object), ("grass", false));
    }

    #[test]
    fn what_nothing_is_sure_of_is_something() {
        let name = nouns().likeliest(&NEITHER, &NO_CLASS);
        assert_eq!((name.name.as_str(), name.is_object), (UNSURE, false));
        let blank = nouns().likeliest(&NEITHER, &[0.0, 0.0, 9.0, 0.0]);
        assert_eq!(blank.name, UNSURE, "a class without a noun");
    }
}
