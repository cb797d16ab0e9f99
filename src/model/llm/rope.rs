//! Rotary positions, <https://arxiv.org/abs/2104.09864>: pairs of a head's numbers are turned by an angle that grows
//! with the position, each pair at its own speed.
//!
//! Pairs are `(i, i + head_dim / 2)` as in Hugging Face's code ("rotate half"). llama.cpp's files for this family pair
//! neighbours instead; `gguf_source.rs` puts their rows back in order, so this is the only form in the model.

use std::f64::consts::TAU;

use burn::tensor::{Device, Tensor, TensorData};

use super::config::{LlamaConfig, RopeScaling};
use crate::{Error, Result};

/// Sines and cosines of the rotary positions.
#[derive(Debug, Clone)]
pub struct Rope {
    /// Angle a pair turns from one position to the next, `[head_dim / 2]`.
    speeds: Vec<f64>,
}

impl Rope {
    /// `divisors` are those that LLaMA 3's GGUF files carry in place of a scaling in the config.
    pub fn new(config: &LlamaConfig, divisors: Option<Vec<f32>>) -> Result<Self> {
        let pairs = config.head_dim / 2;
        let speed = |pair: usize| config.rope_theta.powf(-(pair as f64) / pairs as f64);
        let mut speeds: Vec<f64> = (0..pairs).map(speed).collect();
        if let Some(scaling) = &config.rope_scaling {
            speeds.iter_mut().for_each(|speed| *speed = scaled(*speed, scaling));
        }
        if let Some(divisors) = divisors {
            if divisors.len() != pairs {
                let (want, got) = (vec![pairs], vec![divisors.len()]);
                return Err(Error::TensorShape { name: "rope_freqs.weight".into(), want, got });
            }
            speeds.iter_mut().zip(divisors).for_each(|(speed, divisor)| *speed /= f64::from(divisor));
        }
        Ok(Self { speeds })
    }

    /// The turns of the first positions: cosines of all angles of a position, then their sines.
    ///
    /// # Shapes
    /// - result: `[count, head_dim]`
    pub fn rotation(&self, count: usize, device: &Device) -> Tensor<2> {
        let angles = |at: usize| self.speeds.iter().map(move |speed| at as f64 * speed);
        let row = |at| angles(at).map(f64::cos).chain(angles(at).map(f64::sin)).map(|number| number as f32);
        let rows: Vec<f32> = (0..count).flat_map(row).collect();
        Tensor::from_data(TensorData::new(rows, [count, 2 * self.speeds.len()]), device)
    }
}

/// LLaMA 3: slow pairs (long waves) are slowed by `factor`, fast ones kept, and those between blended.
/// As in transformers' `_compute_llama3_parameters`.
fn scaled(speed: f64, scaling: &RopeScaling) -> f64 {
    let turns = scaling.original_max_position_embeddings * speed / TAU;
    let kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
    let kept = kept.clamp(0.0, 1.0);
    (1.0 - kept) * speed / scaling.factor + kept * speed
}
