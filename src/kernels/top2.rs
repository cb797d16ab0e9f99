//! The two best of some logits.

use std::cmp::Ordering;

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

use super::launch::{Launch, TOP2};

/// Numbers of what [`choose`](fn@super::decoder::choose) finds.
pub const FOUND: usize = 6;

/// The two largest, the lower id first among equals: `[next token, id, logit as bits, id, logit as bits, the first NaN]`, the
/// number of logits where there is none. The next token is the best, and always one of them.
///
/// # Shapes
/// - `logits`: `[V]`, output: `[6]`
pub fn top2_reference(logits: &[f32]) -> [u32; FOUND] {
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
    let (launch, found) = Launch::new(TOP2, logits).params(&[count as u32]).output([FOUND], DType::U32);
    launch.run((1, 1));
    found
}
