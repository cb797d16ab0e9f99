//! Diffusion head: draws one semantic token under a hidden state of the language model (paper section 3.2; after MAR,
//! <https://arxiv.org/abs/2406.11838>): a small MLP whose norms are moved by time and hidden state (adaLN).

use burn::tensor::activation::silu;
use burn::tensor::{DType, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::kernels::in_pool;
use crate::model::config::DiffusionConfig;
use crate::nn::linear::Linear;
use crate::nn::norms::LayerNorm;
use crate::nn::tensor_store::TensorStore;
use crate::{Error, Result};

/// How tokens are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusionOptions {
    /// Denoising steps a token.
    pub steps: usize,
    /// How far to go from what would be drawn under no condition to what is drawn under this one, and beyond; 1 draws as
    /// the model says.
    pub guidance: f32,
    /// Scale of the noise that a token is drawn from; 0 always draws the same.
    pub temperature: f32,
    /// The same seed draws the same image.
    pub seed: u64,
}

impl Default for DiffusionOptions {
    /// What drew best on validation scenes with the shipped model.
    fn default() -> Self {
        Self { steps: 25, guidance: 2.0, temperature: 0.7, seed: 0 }
    }
}

impl DiffusionOptions {
    /// # Errors
    /// [`Error::Setting`] names the first value that cannot be used.
    pub fn check(&self) -> Result<()> {
        let problem = if !(1..=MAX_STEPS).contains(&self.steps) {
            format!("steps is {}, not 1 to {MAX_STEPS}", self.steps)
        } else if !(self.guidance >= 0.0 && self.guidance <= MAX_GUIDANCE) {
            format!("guidance is {}, not 0 to {MAX_GUIDANCE}", self.guidance)
        } else if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            format!("temperature is {}, not a finite number from 0", self.temperature)
        } else {
            return Ok(());
        };
        Err(Error::Setting(problem))
    }
}

const MAX_STEPS: usize = 1000;
const MAX_GUIDANCE: f32 = 100.0;

/// Residual MLP whose norm is shifted, scaled and passed through SwiGLU by the condition; tensors `diffusion.blocks.i.*`.
#[derive(Debug)]
struct AdaLnBlock {
    norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    modulation: Linear,
}

impl AdaLnBlock {
    fn load(store: &mut TensorStore, name: &str, config: &DiffusionConfig) -> Result<Self> {
        let width = config.width;
        Ok(Self {
            norm: LayerNorm::load(store, &format!("{name}.norm"), width, config.norm_eps)?,
            fc1: Linear::load(store, &format!("{name}.fc1"), width, width)?,
            fc2: Linear::load(store, &format!("{name}.fc2"), width, width)?,
            modulation: Linear::load(store, &format!("{name}.modulation"), width, 3 * width)?,
        })
    }

    /// # Shapes
    /// - `x`, output: `[M, width]`
    /// - `modulation`: `[M, 3 * width]`
    fn forward(&self, x: Tensor<2>, modulation: Tensor<2>) -> Tensor<2> {
        let [shift, scale, gate] = parts(modulation);
        let y = self.norm.forward(x.clone()) * (scale + 1.0) + shift;
        x + gate * self.fc2.forward(silu(self.fc1.forward(y)))
    }
}

/// The denoiser; tensors `diffusion.*`. It predicts `v = sqrt(a) noise - sqrt(1 - a) token`, `a` the share of signal.
#[derive(Debug)]
pub struct DiffusionHead {
    token_in: Linear,
    time_fc1: Linear,
    time_fc2: Linear,
    condition_in: Linear,
    null_condition: Tensor<2>, // [1, H]
    blocks: Vec<AdaLnBlock>,
    final_modulation: Linear,
    final_norm: LayerNorm,
    out: Linear,
    levels: Vec<f32>, // [timesteps]
    time_frequencies: usize,
    token_width: usize,
}

/// What the denoiser needs to know of its conditions, for some times at once. It hangs on neither noise nor token, so it
/// is computed before the first step: one product in place of one a step.
struct Modulations {
    blocks: Vec<Tensor<3>>, // [times, M, 3 * width] each
    last: Tensor<3>,        // [times, M, 2 * width]
}

impl DiffusionHead {
    /// Takes its tensors, for tokens of `token_width` under hidden states of width `hidden`.
    ///
    /// # Errors
    /// What [`TensorStore::take`] says.
    pub fn load(store: &mut TensorStore, config: &DiffusionConfig, token_width: usize, hidden: usize) -> Result<Self> {
        let width = config.width;
        let block = |i| AdaLnBlock::load(store, &format!("diffusion.blocks.{i}"), config);
        Ok(Self {
            blocks: (0..config.depth).map(block).collect::<Result<_>>()?,
            token_in: Linear::load(store, "diffusion.token_in", token_width, width)?,
            time_fc1: Linear::load(store, "diffusion.time_fc1", 2 * config.time_frequencies, width)?,
            time_fc2: Linear::load(store, "diffusion.time_fc2", width, width)?,
            condition_in: Linear::load(store, "diffusion.condition_in", hidden, width)?,
            null_condition: store.take::<1>("diffusion.null_condition", [hidden])?.unsqueeze(),
            final_modulation: Linear::load(store, "diffusion.final_modulation", width, 2 * width)?,
            final_norm: LayerNorm::without_affine(width, config.norm_eps, store.device()),
            out: Linear::load(store, "diffusion.out", width, token_width)?,
            levels: signal_levels(config.timesteps),
            time_frequencies: config.time_frequencies,
            token_width,
        })
    }

    /// `D`.
    pub fn token_width(&self) -> usize {
        self.token_width
    }

    /// Share of signal left at every time.
    pub fn levels(&self) -> &[f32] {
        &self.levels
    }

    /// `v` of noisy tokens at one time.
    ///
    /// # Shapes
    /// - `noisy`: `[M, D]`
    /// - `hidden`: `[M, H]`
    /// - output: `[M, D]`
    pub fn forward(&self, noisy: Tensor<2>, time: usize, hidden: Tensor<2>) -> Tensor<2> {
        self.denoise(noisy, &self.modulations(&[time], hidden), 0)
    }

    /// Draws tokens from `noise` in `options.steps` deterministic steps (DDIM). `options` are taken as checked; their
    /// temperature and seed are for [`Noise`].
    ///
    /// # Shapes
    /// - `noise`: `[M, D]`
    /// - `hidden`: `[M, H]`
    /// - output: `[M, D]`, normalised tokens
    pub fn sample(&self, noise: Tensor<2>, hidden: Tensor<2>, options: &DiffusionOptions) -> Tensor<2> {
        in_pool(&noise.device(), || self.sample_here(noise, hidden, options))
    }

    fn sample_here(&self, noise: Tensor<2>, hidden: Tensor<2>, options: &DiffusionOptions) -> Tensor<2> {
        let [m, _] = noise.dims();
        let times = sample_times(self.levels.len(), options.steps);
        let is_guided = options.guidance != 1.0;
        let null = self.null_condition.clone().repeat_dim(0, m);
        let hidden = if is_guided { Tensor::cat(vec![hidden, null], 0) } else { hidden };
        let modulations = self.modulations(&times, hidden);
        let mut x = noise;
        for (step, &time) in times.iter().enumerate() {
            let v = if is_guided {
                let both = self.denoise(x.clone().repeat_dim(0, 2), &modulations, step);
                let (v, unguided) = (both.clone().narrow(0, 0, m), both.narrow(0, m, m));
                unguided.clone() + (v - unguided) * options.guidance
            } else {
                self.denoise(x.clone(), &modulations, step)
            };
            let (signal, rest) = roots(self.levels[time]);
            let token = x.clone() * signal - v.clone() * rest;
            let Some(&next) = times.get(step + 1) else { return token };
            let noise = x * rest + v * signal;
            let (signal, rest) = roots(self.levels[next]);
            x = token * signal + noise * rest;
        }
        x // not reached: there is at least one step
    }

    fn denoise(&self, noisy: Tensor<2>, modulations: &Modulations, step: usize) -> Tensor<2> {
        let at = |all: &Tensor<3>| all.clone().narrow(0, step, 1).squeeze_dim::<2>(0);
        let blocks = self.blocks.iter().zip(&modulations.blocks);
        let x = blocks.fold(self.token_in.forward(noisy), |x, (block, all)| block.forward(x, at(all)));
        let [shift, scale] = parts(at(&modulations.last));
        self.out.forward(self.final_norm.forward(x) * (scale + 1.0) + shift)
    }

    fn modulations(&self, times: &[usize], hidden: Tensor<2>) -> Modulations {
        let waves = time_waves(times, self.time_frequencies);
        let waves = TensorData::new(waves, [times.len(), 2 * self.time_frequencies]);
        let waves = Tensor::<2>::from_data(waves, (&hidden.device(), DType::F32));
        let time = self.time_fc2.forward(silu(self.time_fc1.forward(waves))); // [times, width]
        let condition = self.condition_in.forward(hidden); // [M, width]
        let condition = silu(time.unsqueeze_dim::<3>(1) + condition.unsqueeze()); // [times, M, width]
        Modulations {
            blocks: self.blocks.iter().map(|block| block.modulation.forward(condition.clone())).collect(),
            last: self.final_modulation.forward(condition),
        }
    }
}

/// Equal parts of the last dimension.
fn parts<const P: usize>(x: Tensor<2>) -> [Tensor<2>; P] {
    let [_, width] = x.dims();
    std::array::from_fn(|i| x.clone().narrow(1, i * (width / P), width / P))
}

/// Cosines, then sines, of the angles `t 10000^(-i / count)`: `[times, 2 count]`. The angles are rounded to f32 as PyTorch's.
fn time_waves(times: &[usize], count: usize) -> Vec<f32> {
    let frequency = |i: usize| (-(10_000f32.ln()) * i as f32 / count as f32).exp();
    let angles = |time: usize| (0..count).map(move |i| time as f32 * frequency(i));
    times.iter().flat_map(|&time| angles(time).map(f32::cos).chain(angles(time).map(f32::sin))).collect()
}

/// Cosine schedule (Nichol & Dhariwal 2021): share of signal left at t = 0 .. timesteps - 1.
fn signal_levels(timesteps: usize) -> Vec<f32> {
    let level = |t: usize| {
        let share = (t as f64 / timesteps as f64 + 0.008) / 1.008;
        (share * std::f64::consts::FRAC_PI_2).cos().powi(2)
    };
    (1..=timesteps).map(|t| (level(t) / level(0)).clamp(1e-5, 0.9999) as f32).collect()
}

/// `steps` times from the last to 0, evenly spaced, rounded down.
fn sample_times(timesteps: usize, steps: usize) -> Vec<usize> {
    match steps {
        1 => vec![timesteps - 1],
        _ => (0..steps).map(|i| (timesteps - 1) * (steps - 1 - i) / (steps - 1)).collect(),
    }
}

/// Square roots of the shares of signal and noise.
fn roots(level: f32) -> (f32, f32) {
    (level.sqrt(), (1.0 - level).sqrt())
}

/// Normal noise from a seed, the same on every machine.
#[derive(Debug, Clone)]
pub struct Noise {
    random: ChaCha8Rng,
    scale: f32,
}

impl Noise {
    /// The noise of a request: its seed, scaled by its temperature.
    pub fn new(options: &DiffusionOptions) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(options.seed);
        // The words of the same request are drawn from residual 0 of what may be the same seed.
        random.set_stream(1);
        Self { random, scale: options.temperature }
    }

    /// `count` numbers.
    pub fn take(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.scale * self.normal()).collect()
    }

    /// Box-Muller, in f64 so that the last digits of a platform's logarithm and cosine are rounded away.
    fn normal(&mut self) -> f32 {
        let (a, b) = (self.uniform(), self.uniform());
        ((-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()) as f32
    }

    /// From 0 up to but not 1.
    fn uniform(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_from_the_last_to_zero() {
        assert_eq!(sample_times(1000, 1), [999]);
        assert_eq!(sample_times(1000, 5), [999, 749, 499, 249, 0]);
        assert_eq!(sample_times(10, 20).len(), 20);
    }

    #[test]
    fn noise_is_normal_and_follows_the_seed() {
        let options = |seed| DiffusionOptions { temperature: 1.0, seed, ..DiffusionOptions::default() };
        let draw = |seed| Noise::new(&options(seed)).take(20_000);
        let values = draw(3);
        assert_eq!(values, draw(3));
        assert_ne!(values, draw(4));
        // As training/model/noise.py says.
        assert!(draw(0).starts_with(&[-0.125_207_44, 1.134_401_3, 0.250_725_72, 0.640_667_1]));
        let mean = values.iter().sum::<f32>() / 20_000.0;
        let variance = values.iter().map(|value| value * value).sum::<f32>() / 20_000.0;
        // Four standard deviations of a mean and of a variance of 20,000.
        assert!(mean.abs() < 0.029, "{mean}");
        assert!((variance - 1.0).abs() < 0.04, "{variance}");
        assert_eq!(Noise::new(&DiffusionOptions { temperature: 0.0, ..DiffusionOptions::default() }).take(3), [0.0; 3]);
    }

    #[test]
    fn settings_that_cannot_draw_are_errors() {
        for bad in [
            DiffusionOptions { steps: 0, ..DiffusionOptions::default() },
            DiffusionOptions { guidance: f32::NAN, ..DiffusionOptions::default() },
            DiffusionOptions { temperature: -1.0, ..DiffusionOptions::default() },
        ] {
            assert_eq!(bad.check().unwrap_err().code(), "setting-invalid");
        }
    }
}
