//! A token drawn from the best of some logits.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

use super::best_two::{FOUND, best_two_reference};
use super::launch::{DRAW_TOKEN, Launch};
use super::next_token::ROUND;
use crate::sample::{Candidate, Sampling, draw};

/// Tokens that can be drawn among.
pub const MOST_DRAWN: usize = 64;

/// Words of a [`Draw`] on the device.
pub const DRAW: usize = 4 + ROUND;

/// How the device draws tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// From 1 to [`MOST_DRAWN`].
    pub top_k: usize,
    /// Above 0.
    pub temperature: f32,
    /// Above 0 and at most 1.
    pub top_p: f32,
    /// A number from 0 to 1 for each token.
    pub numbers: [f32; ROUND],
}

impl Draw {
    /// As the shader reads it; the first token is drawn at the position `first`.
    pub(super) fn words(&self, first: u32) -> Vec<u32> {
        let Self { top_k, temperature, top_p, numbers } = *self;
        let numbers = numbers.map(f32::to_bits);
        [&[top_k as u32, temperature.to_bits(), top_p.to_bits(), first], numbers.as_slice()].concat()
    }
}

/// The token drawn by the number `at`, and the rest as [`best_two_reference`].
///
/// # Shapes
/// - `logits`: `[V]`, output: `[6]`
pub fn draw_token_reference(logits: &[f32], how: &Draw, at: usize) -> [u32; FOUND] {
    let mut found = best_two_reference(logits);
    let sampling = Sampling { temperature: how.temperature, top_k: how.top_k, top_p: how.top_p, ..Sampling::greedy() };
    let candidates = (0..).zip(logits).filter(|(_, logit)| !logit.is_nan());
    let candidates = candidates.map(|(id, &logit)| Candidate { id, logit }).collect();
    found[0] = draw(candidates, &sampling, how.numbers[at].into()).unwrap_or(0);
    found
}

/// The same on the CPU device.
pub(super) fn draw_words(logits: &[f32], how: &[u32], place: u32) -> [u32; FOUND] {
    let float = |i: usize| f32::from_bits(how[i]);
    let numbers = std::array::from_fn(|i| float(4 + i));
    let (draw, first) = (Draw { top_k: how[0] as usize, temperature: float(1), top_p: float(2), numbers }, how[3]);
    draw_token_reference(logits, &draw, place.wrapping_sub(first) as usize % ROUND)
}

/// `logits`: `[1, V]`, `how`: `[20]`, `place`: `[1]` -> `[6]` as [`draw_token_reference`].
pub(super) fn launch(logits: CubeTensor, how: CubeTensor, place: CubeTensor) -> CubeTensor {
    let count = logits.meta.shape()[1];
    let launch = Launch::new(DRAW_TOKEN, logits).input(how).input(place).params(&[count as u32]);
    let (launch, found) = launch.output([FOUND], DType::U32);
    launch.run((1, 1));
    found
}
