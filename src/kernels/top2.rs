//! The two best of some logits.

use std::cmp::Ordering;

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

use super::launch::{Launch, TOP2};
use super::sampling::Candidate;

/// What a device chose after some logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenChoice {
    /// The next token: the best, or one sampled.
    pub next: u32,
    /// The two best, as far as there are two numbers.
    pub best: [Option<Candidate>; 2],
    /// The first id whose logit is not a number.
    pub first_nan: Option<u32>,
}

impl TokenChoice {
    /// Words that it takes on the device: the next token; id and logit as bits, twice; the first NaN.
    pub const WORDS: usize = 6;

    /// As the kernels write it, with the number of logits for what is not there.
    pub fn from_words(words: &[u32; Self::WORDS], logits: u32) -> Self {
        let [next, first, first_logit, second, second_logit, nan] = *words;
        let candidate = |(id, bits): (u32, u32)| (id < logits).then_some(Candidate { id, logit: f32::from_bits(bits) });
        Self {
            next,
            best: [(first, first_logit), (second, second_logit)].map(candidate),
            first_nan: (nan < logits).then_some(nan),
        }
    }
}

/// The two largest, the lower id first among equals, in the words of a [`TokenChoice`]. The next token is the best, and always
/// one of them.
///
/// # Shapes
/// - `logits`: `[V]`, output: `[6]`
pub fn top2_reference(logits: &[f32]) -> [u32; TokenChoice::WORDS] {
    let none = logits.len() as u32;
    let mut order: Vec<usize> = (0..logits.len()).filter(|&id| !logits[id].is_nan()).collect();
    order.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap_or(Ordering::Equal)); // stable, and no NaN is left
    let found = |rank: usize| order.get(rank).map_or([none, 0], |&id| [id as u32, logits[id].to_bits()]);
    let ([first, first_logit], [second, second_logit]) = (found(0), found(1));
    let bad = logits.iter().position(|logit| logit.is_nan()).map_or(none, |id| id as u32);
    [first.min(none - 1), first, first_logit, second, second_logit, bad]
}

/// `logits`: `[1, V]` -> `[6]` as [`top2_reference`].
pub(super) fn launch(logits: CubeTensor) -> CubeTensor {
    let count = logits.meta.shape()[1];
    let (launch, found) = Launch::new(TOP2, logits).params(&[count as u32]).output([TokenChoice::WORDS], DType::U32);
    launch.run((1, 1));
    found
}
