//! The largest of some numbers, and what logits say.

/// Where it is: the first of equals, and 0 where there are none.
pub(crate) fn argmax(values: &[f32]) -> usize {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b]).then(b.cmp(&a))).unwrap_or(0)
}

/// Where the largest logit is, and its probability among all of them.
pub(crate) fn likeliest(logits: &[f32]) -> (usize, f32) {
    let best = argmax(logits);
    let total: f32 = logits.iter().map(|logit| (logit - logits[best]).exp()).sum();
    (best, 1.0 / total)
}

/// Probabilities of logits.
pub(crate) fn probabilities(logits: &[f32]) -> Vec<f32> {
    let most = logits[argmax(logits)];
    let weights: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let total: f32 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}
