//! The choice of the next token from its logits.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::kernels::sampling::{Candidate, Filter, best_of, sample};
use crate::kernels::{DeviceSampling, MAX_TOP_K};
use crate::{Error, Result};

/// How tokens are chosen. The steps are those of Hugging Face, in its order: repetition penalty, temperature, top-k,
/// top-p.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// 0 always takes the best token; 1 draws as the model says.
    pub temperature: f32,
    /// Draws among this many of the best tokens; 0 among all.
    pub top_k: usize,
    /// Draws among the fewest best tokens that together have this probability; 1 among all.
    pub top_p: f32,
    /// Makes tokens that have been there less likely; 1 does not.
    pub repetition_penalty: f32,
    /// The same seed gives the same answer.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.7, top_k: 40, top_p: 0.95, repetition_penalty: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Always the best token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.0, seed: 0 }
    }

    /// Whether a device can choose tokens on its own, without their logits passing through the CPU.
    pub fn fits_device(&self) -> bool {
        let is_few = (1..=MAX_TOP_K).contains(&self.top_k);
        self.repetition_penalty == 1.0 && (self.temperature == 0.0 || is_few)
    }

    fn filter(&self) -> Filter {
        Filter { top_k: self.top_k, temperature: self.temperature, top_p: self.top_p }
    }

    fn check(&self) -> Result<()> {
        let problem = if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            format!("temperature is {}, not a finite number from 0", self.temperature)
        } else if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            format!("top_p is {}, not above 0 and at most 1", self.top_p)
        } else if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            format!("repetition_penalty is {}, not a finite number above 0", self.repetition_penalty)
        } else {
            return Ok(());
        };
        Err(Error::Setting(problem))
    }
}

/// Draws tokens one after another. The random numbers are those of ChaCha with 8 rounds, whose stream is the same on
/// every machine and in every release.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
}

impl Sampler {
    /// A sampler at the beginning of its seed.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first value that cannot be used.
    pub fn new(sampling: Sampling) -> Result<Self> {
        sampling.check()?;
        let random = ChaCha8Rng::seed_from_u64(sampling.seed);
        Ok(Self { sampling, random })
    }

    /// The next token after `history`.
    ///
    /// # Shapes
    /// - `logits`: `[vocabulary]`
    pub fn choose(&mut self, logits: &[f32], history: &[u32]) -> Result<u32> {
        if let Some(row) = logits.iter().position(|logit| logit.is_nan()) {
            return Err(Error::NotFinite { what: "logits", row });
        }
        let mut candidates: Vec<Candidate> = (0..).zip(logits).map(|(id, &logit)| Candidate { id, logit }).collect();
        penalise(&mut candidates, history, self.sampling.repetition_penalty);
        if self.sampling.temperature == 0.0 {
            return best_of(&candidates).ok_or_else(no_tokens);
        }
        let number = self.uniform();
        sample(candidates, self.sampling.filter(), number).ok_or_else(no_tokens)
    }

    /// See [`Sampling::fits_device`].
    pub(crate) fn fits_device(&self) -> bool {
        self.sampling.fits_device()
    }

    /// How a device draws the next tokens on its own; `None` where it takes the best. Those that it drew are to be
    /// [skipped](Self::skip).
    pub fn for_device(&self) -> Option<DeviceSampling> {
        let Sampling { top_k, temperature, top_p, .. } = self.sampling;
        (temperature > 0.0).then(|| {
            let mut ahead = self.clone();
            DeviceSampling { top_k, temperature, top_p, uniforms: std::array::from_fn(|_| ahead.uniform() as f32) }
        })
    }

    /// Goes on after `count` tokens that a device chose.
    pub fn skip(&mut self, count: usize) {
        if self.sampling.temperature > 0.0 {
            (0..count).for_each(|_| _ = self.uniform());
        }
    }

    /// A number from 0 up to but not 1, in steps of 2^-53.
    fn uniform(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }
}

/// As in CTRL, <https://arxiv.org/abs/1909.05858>: once for each token that has been there, however often.
fn penalise(candidates: &mut [Candidate], history: &[u32], penalty: f32) {
    let mut seen = history.to_vec();
    seen.sort_unstable();
    seen.dedup();
    for id in seen {
        if let Some(candidate) = candidates.get_mut(id as usize) {
            candidate.logit = if candidate.logit > 0.0 { candidate.logit / penalty } else { candidate.logit * penalty };
        }
    }
}

fn no_tokens() -> Error {
    Error::Tokenizer("the vocabulary is empty".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::sampling::top2;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, 3.0, -1.0];

    fn counts(sampling: Sampling, draws: usize) -> [usize; 5] {
        let mut sampler = Sampler::new(sampling).unwrap();
        let mut counts = [0; 5];
        for _ in 0..draws {
            counts[sampler.choose(&LOGITS, &[]).unwrap() as usize] += 1;
        }
        counts
    }

    fn warm() -> Sampling {
        Sampling { temperature: 1.0, ..Sampling::greedy() }
    }

    #[test]
    fn greedy_takes_the_lower_id_of_equals() {
        let mut sampler = Sampler::new(Sampling::greedy()).unwrap();
        assert_eq!(sampler.choose(&LOGITS, &[]).unwrap(), 1);
        assert_eq!(top2(&LOGITS).map(|best| best.unwrap().id), [1, 3]);
        assert_eq!(top2(&[0.5])[1], None);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let counts = counts(warm(), 20_000);
        let exps = LOGITS.map(|logit| f64::from(logit).exp());
        let total: f64 = exps.iter().sum();
        for (count, exp) in counts.into_iter().zip(exps) {
            // Four standard deviations of a draw of 20,000 are at most .0142.
            assert!((count as f64 / 20_000.0 - exp / total).abs() < 0.0142, "{counts:?}");
        }
    }

    #[test]
    fn top_k_and_top_p_leave_out_the_rest() {
        let [_, best, _, second, _] = counts(Sampling { top_k: 2, ..warm() }, 200);
        assert_eq!(best + second, 200);
        assert!(best > 60 && second > 60);
        // The two best have .42 each: the first alone is not enough for .5, the third is not needed.
        let [_, best, _, second, _] = counts(Sampling { top_p: 0.5, ..warm() }, 200);
        assert_eq!(best + second, 200);
        assert!(best > 60 && second > 60);
        assert_eq!(counts(Sampling { top_p: 0.1, ..warm() }, 50), [0, 50, 0, 0, 0]);
    }

    #[test]
    fn an_infinite_logit_is_drawn() {
        for number in [0.0, 0.5, 0.999] {
            let candidates = (0..).zip([2.0, f32::INFINITY, 1.0]).map(|(id, logit)| Candidate { id, logit }).collect();
            assert_eq!(sample(candidates, warm().filter(), number), Some(1));
        }
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let draw = |seed| {
            let mut sampler = Sampler::new(Sampling { seed, ..warm() }).unwrap();
            (0..40).map(|_| sampler.choose(&LOGITS, &[]).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn repeated_tokens_are_penalised_once() {
        let mut sampler = Sampler::new(Sampling { repetition_penalty: 1.4, ..Sampling::greedy() }).unwrap();
        assert_eq!(sampler.choose(&LOGITS, &[1, 1, 3, 900]).unwrap(), 1, "3.0 / 1.4 is above 2.0");
        let mut sampler = Sampler::new(Sampling { repetition_penalty: 1.6, ..Sampling::greedy() }).unwrap();
        assert_eq!(sampler.choose(&LOGITS, &[1, 3]).unwrap(), 2);
    }

    #[test]
    fn bad_settings_and_logits_are_errors() {
        for bad in [
            Sampling { temperature: f32::NAN, ..warm() },
            Sampling { temperature: -0.1, ..warm() },
            Sampling { top_p: 0.0, ..warm() },
            Sampling { top_p: 1.5, ..warm() },
            Sampling { repetition_penalty: 0.0, ..warm() },
        ] {
            assert_eq!(Sampler::new(bad).unwrap_err().code(), "setting-invalid");
        }
        let mut sampler = Sampler::new(warm()).unwrap();
        assert_eq!(sampler.choose(&[0.0, f32::NAN], &[]).unwrap_err().code(), "not-finite");
        assert_eq!(sampler.choose(&[], &[]).unwrap_err().code(), "tokenizer-invalid");
    }
}
