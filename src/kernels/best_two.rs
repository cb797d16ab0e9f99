//! The two best of some logits.

use std::cmp::Ordering;

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

use super::launch::{BEST_TWO, Launch};

/// Numbers of what [`best_two`](fn@super::decoder::best_two) finds.
pub const FOUND: usize = 5;

/// The two largest, the lower id first among equals: `[id, logit as bits, id, logit as bits, the first NaN]`, the number of
/// logits where there is none.
///
/// # Shapes
/// - `logits`: `[V]`, output: `[5]`
pub fn best_two_reference(logits: &[f32]) -> [u32; FOUND] {
    let none = logits.len() as u32;
    let mut order: Vec<usize> = (0..logits.len()).filter(|&id| !logits[id].is_nan()).collect();
    order.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap_or(Ordering::Equal)); // stable, and no NaN is left
    let found = |rank: usize| order.get(rank).map_or([none, 0], |&id| [id as u32, logits[id].to_bits()]);
    let ([first, first_logit], [second, second_logit]) = (found(0), found(1));
    let bad = logits.iter().position(|logit| logit.is_nan()).map_or(none, |id| id as u32);
    [first, first_logit, second, second_logit, bad]
}

/// `logits`: `[1, V]` -> the best id `[1]`, and `[5]` as [`best_two_reference`].
pub(super) fn launch(logits: CubeTensor) -> (CubeTensor, CubeTensor) {
    let count = logits.meta.shape()[1];
    let (launch, id) = Launch::new(BEST_TWO, logits).params(&[count as u32]).output([1], DType::U32);
    let (launch, found) = launch.output([FOUND], DType::U32);
    launch.run((1, 1));
    (id, found)
}
