//! A token drawn from the best of some logits.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

use super::launch::{Launch, SAMPLE_TOKEN};
use super::next_token::MAX_RUN_AHEAD;
use super::sampling::{Candidate, Filter, sample};
use super::top2::{TokenChoice, top2_reference};

/// Tokens that can be drawn among.
pub const MAX_TOP_K: usize = 64;

/// Words of a [`DeviceSampling`] on the device.
pub const DRAW: usize = 4 + MAX_RUN_AHEAD;

/// How the device draws tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceSampling {
    /// From 1 to [`MAX_TOP_K`].
    pub top_k: usize,
    /// Above 0.
    pub temperature: f32,
    /// Above 0 and at most 1.
    pub top_p: f32,
    /// A number from 0 to 1 for each token.
    pub uniforms: [f32; MAX_RUN_AHEAD],
}

impl DeviceSampling {
    /// As the shader reads it; the first token is drawn at the position `first`.
    pub(super) fn words(&self, first: u32) -> Vec<u32> {
        let Self { top_k, temperature, top_p, uniforms } = *self;
        let uniforms = uniforms.map(f32::to_bits);
        [&[top_k as u32, temperature.to_bits(), top_p.to_bits(), first], uniforms.as_slice()].concat()
    }
}

/// The token drawn by the number `at`, and the rest as [`top2_reference`].
///
/// # Shapes
/// - `logits`: `[V]`, output: `[6]`
pub fn sample_token_reference(logits: &[f32], how: &DeviceSampling, at: usize) -> [u32; TokenChoice::WORDS] {
    let mut found = top2_reference(logits);
    let filter = Filter { top_k: how.top_k, temperature: how.temperature, top_p: how.top_p };
    let candidates = (0..).zip(logits).filter(|(_, logit)| !logit.is_nan());
    let candidates = candidates.map(|(id, &logit)| Candidate { id, logit }).collect();
    found[0] = sample(candidates, filter, how.uniforms[at].into()).unwrap_or(0);
    found
}

/// The same on the CPU device.
pub(super) fn sample_words(logits: &[f32], how: &[u32], offset: u32) -> [u32; TokenChoice::WORDS] {
    let float = |i: usize| f32::from_bits(how[i]);
    let uniforms = std::array::from_fn(|i| float(4 + i));
    let (draw, first) =
        (DeviceSampling { top_k: how[0] as usize, temperature: float(1), top_p: float(2), uniforms }, how[3]);
    sample_token_reference(logits, &draw, offset.wrapping_sub(first) as usize % MAX_RUN_AHEAD)
}

/// `logits`: `[1, V]`, `how`: `[20]`, `offset`: `[1]` -> `[6]` as [`sample_token_reference`].
pub(super) fn launch(logits: CubeTensor, how: CubeTensor, offset: CubeTensor) -> CubeTensor {
    let count = logits.meta.shape()[1];
    let launch = Launch::new(SAMPLE_TOKEN, logits).input(how).input(offset).params(&[count as u32]);
    let (launch, found) = launch.output([TokenChoice::WORDS], DType::U32);
    launch.run((1, 1));
    found
}
