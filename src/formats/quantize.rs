//! How many bits a weight gets: which tensors are packed, and the packing itself.

use std::borrow::Cow;
use std::str::FromStr;

use half::f16;
use serde::Serialize;

use crate::formats::blocks::{BLOCK, WeightKind, largest, q8_block, quotient};
use crate::formats::gguf::RawTensor;
use crate::{Error, Result};

/// How a part of a model is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// As it is in the source.
    Keep,
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// Q8_0: 8.5 bits a weight.
    Q8,
    /// Q4_0: 4.5 bits a weight.
    Q4,
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "keep" => Ok(Self::Keep),
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "q8" => Ok(Self::Q8),
            "q4" => Ok(Self::Q4),
            other => Err(Error::Setting(format!("`{other}` is not one of keep, f32, f16, q8 and q4"))),
        }
    }
}

/// The parts of a model that may be stored each in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The vision encoder.
    Vision,
    /// Token merger and name heads.
    Merger,
    /// Semantic tokens -> pixels.
    Detokenizer,
    /// The language model.
    Llm,
    /// Projector, diffusion head, mask head.
    Rest,
}

impl Part {
    /// All parts, in the order in which data passes through them.
    pub const ALL: [Self; 5] = [Self::Vision, Self::Merger, Self::Detokenizer, Self::Llm, Self::Rest];

    /// The part that a tensor of a bundle belongs to.
    pub fn of(name: &str) -> Self {
        match name.split('.').next() {
            Some("vision" | "vision_model" | "embeddings" | "encoder") => Self::Vision,
            Some("setok" | "heads") => Self::Merger,
            Some("detok") => Self::Detokenizer,
            Some("llm") => Self::Llm,
            _ => Self::Rest,
        }
    }

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vision => "vision",
            Self::Merger => "merger",
            Self::Detokenizer => "detokenizer",
            Self::Llm => "llm",
            Self::Rest => "rest",
        }
    }
}

/// A precision for every part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Precisions([Precision; 5]);

impl Precisions {
    /// The same for all.
    pub fn all(precision: Precision) -> Self {
        Self([precision; 5])
    }

    /// With another precision for one part.
    #[must_use]
    pub fn with(mut self, part: Part, precision: Precision) -> Self {
        self.0[part as usize] = precision;
        self
    }

    /// The precision chosen for a part.
    pub fn of(&self, part: Part) -> Precision {
        self.0[part as usize]
    }
}

/// A tensor with about the precision that is asked for. Vectors (norms, biases) stay f32: they are small and
/// everything passes through them. Of the matrices, those that are packed are the weights of layers (`*.weight`) whose rows
/// are whole blocks; embedding tables get 8 bits at the least, because a tied one is also what chooses words. The others
/// become f16.
///
/// # Errors
/// [`Error::NotFinite`] when a matrix holds a value that its type cannot.
pub fn encode<'a>(name: &str, raw: RawTensor<'a>, precision: Precision) -> Result<RawTensor<'a>> {
    let rows = raw.shape.first().copied().unwrap_or(1).max(1);
    let columns = raw.shape.iter().skip(1).product::<usize>();
    let can_be_packed = raw.shape.len() > 1 && name.ends_with(".weight") && columns.is_multiple_of(BLOCK);
    let kind = match precision {
        Precision::Keep => raw.kind,
        _ if raw.shape.len() < 2 => WeightKind::F32,
        Precision::F32 => WeightKind::F32,
        Precision::Q4 if can_be_packed && !name.contains("embed") => WeightKind::Q4_0,
        Precision::Q8 | Precision::Q4 if can_be_packed => WeightKind::Q8_0,
        Precision::F16 | Precision::Q8 | Precision::Q4 => WeightKind::F16,
    };
    if kind == raw.kind {
        return Ok(raw);
    }
    let values = raw.to_f32();
    if let Some(at) = values.iter().position(|&value| !can_hold(kind, value)) {
        return Err(Error::NotFinite { what: "weights", row: at * rows / values.len() });
    }
    Ok(RawTensor { kind, shape: raw.shape, bytes: Cow::Owned(bytes_of(kind, &values)?) })
}

/// Whether a value stays finite; false for NaN.
fn can_hold(kind: WeightKind, value: f32) -> bool {
    let largest_f16 = f16::MAX.to_f32();
    let limit = match kind {
        WeightKind::F32 | WeightKind::BF16 => f32::MAX,
        WeightKind::F16 => largest_f16,
        WeightKind::Q8_0 => 127.0 * largest_f16,
        WeightKind::Q4_0 | WeightKind::Q4_1 => 7.0 * largest_f16,
    };
    value.abs() <= limit
}

fn bytes_of(kind: WeightKind, values: &[f32]) -> Result<Vec<u8>> {
    let blocks = || values.chunks_exact(BLOCK);
    Ok(match kind {
        WeightKind::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        WeightKind::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
        WeightKind::Q8_0 => blocks().flat_map(q8_block).collect(),
        WeightKind::Q4_0 => blocks().flat_map(q4_block).collect(),
        WeightKind::BF16 | WeightKind::Q4_1 => {
            return Err(Error::Setting(format!("weights are not converted to {}", kind.name())));
        }
    })
}

/// 18 bytes: a scale, then weights of -8 to 7 times the scale. The scale that takes the largest weight to -8 is seldom the
/// best one: of some around it, the one with the smallest sum of squared errors is taken.
fn q4_block(values: &[f32]) -> Vec<u8> {
    let largest = largest(values);
    let quant = |value: f32, scale: f16| quotient(value, scale).round().clamp(-8.0, 7.0);
    let error = |scale: f16| -> f32 {
        values.iter().map(|&value| (value - quant(value, scale) * scale.to_f32()).powi(2)).sum()
    };
    let scales = (0..=SCALES).map(|i| f16::from_f32(-largest / (7.0 + 2.0 * i as f32 / SCALES as f32)));
    let best = scales.min_by(|&a, &b| error(a).total_cmp(&error(b))).unwrap_or(f16::ZERO);
    let nibble = |value: f32| (quant(value, best) + 8.0) as u8;
    let (low, high) = values.split_at(BLOCK / 2);
    let nibbles = low.iter().zip(high).map(|(&low, &high)| nibble(low) | (nibble(high) << 4));
    best.to_le_bytes().into_iter().chain(nibbles).collect()
}

/// Scales tried for a block of 4 bits.
const SCALES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::blocks::dequantize;

    fn raw(shape: &[usize], value: impl Fn(usize) -> f32) -> RawTensor<'static> {
        let bytes = (0..shape.iter().product()).flat_map(|i| value(i).to_le_bytes()).collect();
        RawTensor { kind: WeightKind::F32, shape: shape.to_vec(), bytes: Cow::Owned(bytes) }
    }

    /// Bell-shaped and deterministic, as weights are.
    fn weight(i: usize) -> f32 {
        let uniform = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7 & 1023) as f32 / 1023.0 - 0.5;
        0.1 * (uniform(3 * i) + uniform(3 * i + 1) + uniform(3 * i + 2))
    }

    fn kind_of(name: &str, shape: &[usize], precision: Precision) -> WeightKind {
        encode(name, raw(shape, weight), precision).unwrap().kind
    }

    #[test]
    fn what_is_packed_and_what_is_not() {
        use Precision::{F16, Q4, Q8};
        assert_eq!(kind_of("a.weight", &[4, 64], Q8), WeightKind::Q8_0);
        assert_eq!(kind_of("a.weight", &[4, 64], Q4), WeightKind::Q4_0);
        assert_eq!(kind_of("a.weight", &[4, 64], F16), WeightKind::F16);
        assert_eq!(kind_of("conv.weight", &[4, 32, 3, 3], Q4), WeightKind::Q4_0);
        assert_eq!(kind_of("conv.weight", &[4, 3, 3, 3], Q4), WeightKind::F16, "27 is not whole blocks");
        assert_eq!(kind_of("embed_tokens.weight", &[4, 64], Q4), WeightKind::Q8_0);
        assert_eq!(kind_of("norm.weight", &[64], Q4), WeightKind::F32);
        assert_eq!(kind_of("vision.pos", &[4, 64], Q4), WeightKind::F16, "no layer multiplies by it");
        assert_eq!(kind_of("a.weight", &[4, 64], Precision::Keep), WeightKind::F32);
    }

    #[test]
    fn errors_are_half_a_step_at_the_most() {
        for (precision, steps) in [(Precision::Q8, 127.0), (Precision::Q4, 7.0)] {
            let tensor = raw(&[8, 64], weight);
            let values = tensor.to_f32();
            let packed = encode("a.weight", tensor, precision).unwrap();
            let again = dequantize(packed.kind, &packed.bytes);
            for (before, after) in values.chunks(BLOCK).zip(again.chunks(BLOCK)) {
                let step = largest(before).abs() / steps;
                let worst = before.iter().zip(after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                // Half a step, and what the scale loses as f16. The best scale of 4 bits may cut the largest weight: up to
                // a whole step.
                let share = if precision == Precision::Q8 { 0.51 } else { 1.01 };
                assert!(worst <= share * step, "{precision:?}: {worst} of {step}");
            }
        }
    }

    #[test]
    fn what_is_packed_already_stays_as_it_is() {
        let packed = encode("a.weight", raw(&[2, 32], weight), Precision::Q4).unwrap();
        let again = RawTensor { kind: packed.kind, shape: vec![2, 32], bytes: packed.bytes.clone() };
        assert_eq!(encode("a.weight", again.clone(), Precision::Q4).unwrap(), packed);
        assert_eq!(encode("a.weight", again, Precision::Keep).unwrap(), packed);
    }

    #[test]
    fn extreme_blocks_are_numbers() {
        for value in [0.0, 1e-9, -1e-9, 1e-40, 60000.0, -60000.0] {
            for precision in [Precision::Q8, Precision::Q4] {
                let packed =
                    encode("a.weight", raw(&[1, 32], |i| if i == 3 { value } else { 0.0 }), precision).unwrap();
                let again = dequantize(packed.kind, &packed.bytes);
                assert!((again[3] - value).abs() <= 0.001 * value.abs() + 1e-6, "{value} became {}", again[3]);
            }
        }
        for (bad, precision) in
            [(f32::NAN, Precision::Q8), (f32::INFINITY, Precision::Q4), (7e4, Precision::F16), (9e6, Precision::Q8)]
        {
            let tensor = raw(&[2, 32], |i| if i == 40 { bad } else { 0.0 });
            assert!(matches!(encode("a.weight", tensor, precision), Err(Error::NotFinite { row: 1, .. })));
        }
    }
}
