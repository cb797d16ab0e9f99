//! Blocks of weights as ggml stores them: 32 weights share a scale.

use half::f16;

/// Weights that share one scale.
pub const BLOCK: usize = 32;
/// Columns come in groups of this many, so that every kind can be read by whole words.
pub const COLUMN_GROUP: usize = 4;

/// How weights are stored, in a file or packed. The names are ggml's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, reason = "ggml's own names")]
pub enum WeightKind {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// The upper half of 32-bit floats.
    BF16,
    /// Blocks of 32 signed bytes and a scale: `q * d`.
    Q8_0,
    /// Blocks of 32 nibbles and a scale: `(q - 8) * d`.
    Q4_0,
    /// Blocks of 32 nibbles, a scale and a smallest value: `q * d + m`.
    Q4_1,
}

impl WeightKind {
    /// All kinds, in the order of their numbers in the shaders.
    pub const ALL: [Self; 6] = [Self::F32, Self::F16, Self::BF16, Self::Q8_0, Self::Q4_0, Self::Q4_1];

    /// The name in files and reports, which is ggml's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
        }
    }

    /// Weights a block.
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 => BLOCK,
        }
    }

    /// Bytes a block takes in a file.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q8_0 => 2 + 32,
            Self::Q4_0 => 2 + 16,
            Self::Q4_1 => 4 + 16,
        }
    }

    /// Bytes a tensor takes in a file, or `None` where its rows are not whole blocks or the size overflows.
    pub fn byte_count(self, shape: &[usize]) -> Option<usize> {
        byte_count(self.block_len(), self.block_bytes(), shape)
    }

    /// Whether the weights of a block in a file are numbers.
    pub(crate) fn is_finite(self, block: &[u8]) -> bool {
        let half_at = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).is_finite();
        match self {
            Self::F32 => f32::from_bits(little_endian_word(block)).is_finite(),
            Self::BF16 => half::bf16::from_le_bytes([block[0], block[1]]).is_finite(),
            Self::F16 | Self::Q8_0 | Self::Q4_0 => half_at(0),
            Self::Q4_1 => half_at(0) && half_at(2),
        }
    }

    pub(crate) const fn is_block_kind(self) -> bool {
        self.block_len() > 1
    }

    /// f16 numbers a block has as scales.
    pub(crate) const fn scales_per_block(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 0,
            Self::Q8_0 | Self::Q4_0 => 1,
            Self::Q4_1 => 2,
        }
    }

    /// Bits of a quant.
    pub(crate) const fn bits(self) -> usize {
        match self {
            Self::F32 => 32,
            Self::F16 | Self::BF16 => 16,
            Self::Q8_0 => 8,
            Self::Q4_0 | Self::Q4_1 => 4,
        }
    }
}

/// Whether rows of so many columns can be packed: whole blocks, and whole [`COLUMN_GROUP`]s.
pub(crate) fn packs(kind: WeightKind, columns: usize) -> bool {
    columns > 0 && columns.is_multiple_of(kind.block_len()) && columns.is_multiple_of(COLUMN_GROUP)
}

/// Bytes of a tensor in blocks of so many weights and bytes; `None` where its rows are not whole blocks or the size overflows.
pub(super) fn byte_count(block_len: usize, block_bytes: usize, shape: &[usize]) -> Option<usize> {
    let row = *shape.last()?;
    if row % block_len != 0 {
        return None;
    }
    let weights = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))?;
    (weights / block_len).checked_mul(block_bytes)
}

pub(crate) fn little_endian_word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Every weight of a file's blocks as f32, exactly as ggml's reference code computes it.
pub fn dequantize(kind: WeightKind, bytes: &[u8]) -> Vec<f32> {
    let half_at = |block: &[u8], at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
    let blocks = bytes.chunks_exact(kind.block_bytes());
    let mut weights = Vec::with_capacity(blocks.len() * kind.block_len());
    for block in blocks {
        match kind {
            WeightKind::F32 => weights.push(f32::from_bits(little_endian_word(block))),
            WeightKind::F16 => weights.push(half_at(block, 0)),
            WeightKind::BF16 => weights.push(half::bf16::from_le_bytes([block[0], block[1]]).to_f32()),
            WeightKind::Q8_0 => {
                let scale = half_at(block, 0);
                weights.extend(block[2..].iter().map(|&quant| scale * f32::from(quant as i8)));
            }
            WeightKind::Q4_0 => {
                let scale = half_at(block, 0);
                weights.extend(nibbles(&block[2..]).map(|quant| scale * (f32::from(quant) - 8.0)));
            }
            WeightKind::Q4_1 => {
                let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
                weights.extend(nibbles(&block[4..]).map(|quant| scale * f32::from(quant) + minimum));
            }
        }
    }
    weights
}

/// All low nibbles, then all high ones.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4))
}

/// 34 bytes: the scale that takes the largest weight to 127, then each weight by it.
pub(super) fn q8_block(values: &[f32]) -> Vec<u8> {
    let scale = f16::from_f32(largest(values).abs() / 127.0);
    let quant = |value: &f32| quotient(*value, scale).round().clamp(-127.0, 127.0) as i8 as u8;
    scale.to_le_bytes().into_iter().chain(values.iter().map(quant)).collect()
}

/// The value that is farthest from 0, with its sign.
pub(super) fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest: f32, &value| if value.abs() > largest.abs() { value } else { largest })
}

/// Zero where the scale is: then every weight of the block is smaller than an f16 can say.
pub(super) fn quotient(value: f32, scale: f16) -> f32 {
    if scale.to_f32() == 0.0 { 0.0 } else { value / scale.to_f32() }
}
