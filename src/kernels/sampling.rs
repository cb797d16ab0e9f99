//! Sampling from candidates on the CPU: what `sample_token.wgsl` does on a GPU, and what a sampler does with logits that it
//! has read back.

use std::cmp::Ordering;

/// A token with its logit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The token's id.
    pub id: u32,
    /// Its logit, before any sampling setting.
    pub logit: f32,
}

/// Which candidates are sampled among, and how strongly the better ones are preferred.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Filter {
    /// The best so many; 0 for all.
    pub top_k: usize,
    /// Above 0.
    pub temperature: f32,
    /// The fewest best that together have this probability; 1 for all.
    pub top_p: f32,
}

/// A token sampled by a `number` from 0 up to but not 1, if there are any: top-k, temperature, then top-p, in the order of
/// Hugging Face.
pub(crate) fn sample(mut candidates: Vec<Candidate>, filter: Filter, number: f64) -> Option<u32> {
    keep_top_k(&mut candidates, filter.top_k);
    candidates.sort_unstable_by(better_first);
    let mut weights = softmax(&candidates, filter.temperature);
    keep_top_p(&mut weights, filter.top_p);
    let target = number * weights.iter().sum::<f64>();
    candidates.get(index_at(&weights, target)).map(|candidate| candidate.id)
}

/// The two best tokens of a row of logits; the lower id of equals comes first.
pub fn top2(logits: &[f32]) -> [Option<Candidate>; 2] {
    let mut best = [None, None];
    for candidate in (0..).zip(logits).map(|(id, &logit)| Candidate { id, logit }) {
        let beats = |other: Option<Candidate>| other.is_none_or(|other| candidate.logit > other.logit);
        if beats(best[0]) {
            best = [Some(candidate), best[0]];
        } else if beats(best[1]) {
            best[1] = Some(candidate);
        }
    }
    best
}

pub(crate) fn best_of(candidates: &[Candidate]) -> Option<u32> {
    candidates.iter().min_by(|a, b| better_first(a, b)).map(|best| best.id)
}

/// Higher logits first, lower ids first among equals. None of them is NaN.
fn better_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.id.cmp(&b.id))
}

fn keep_top_k(candidates: &mut Vec<Candidate>, top_k: usize) {
    if top_k > 0 && top_k < candidates.len() {
        candidates.select_nth_unstable_by(top_k - 1, better_first);
        candidates.truncate(top_k);
    }
}

/// Probabilities, not divided by their sum. `candidates` are sorted, the best first.
fn softmax(candidates: &[Candidate], temperature: f32) -> Vec<f64> {
    let best = candidates.first().map_or(0.0, |best| f64::from(best.logit));
    let weight = |candidate: &Candidate| match f64::from(candidate.logit) {
        logit if logit == best => 1.0, // also where both are infinite
        logit => ((logit - best) / f64::from(temperature)).exp(),
    };
    candidates.iter().map(weight).collect()
}

fn keep_top_p(weights: &mut Vec<f64>, top_p: f32) {
    let enough = f64::from(top_p) * weights.iter().sum::<f64>();
    let mut sum = 0.0;
    let kept = weights.iter().position(|weight| {
        sum += weight;
        sum >= enough
    });
    if let Some(last) = kept {
        weights.truncate(last + 1);
    }
}

/// The index at which the running sum passes `target`; the last one where rounding keeps it from that.
fn index_at(weights: &[f64], target: f64) -> usize {
    let mut sum = 0.0;
    let passed = weights.iter().position(|weight| {
        sum += weight;
        sum > target
    });
    passed.unwrap_or(weights.len().saturating_sub(1))
}
