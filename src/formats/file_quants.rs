//! Types of blocks that GGUF files hold and nothing here computes with: each is unpacked, exactly as ggml's reference code
//! does it (`ggml-quants.c`, `dequantize_row_*`), and packed again as the nearest [`WeightKind`].

use half::f16;

use crate::formats::blocks::{BLOCK, WeightKind, byte_count, q8_block};
use crate::formats::gguf_metadata::type_name;

/// Weights of a block of the K types.
const SUPER: usize = 256;
/// What the nibbles of the IQ4 types stand for (ggml's `kvalues_iq4nl`).
const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// How weights are stored in a file alone. The names are ggml's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "ggml's own names")]
pub enum FileQuant {
    /// Blocks of 32 numbers of 5 bits and a scale.
    Q5_0,
    /// Blocks of 32 numbers of 5 bits, a scale and a smallest value.
    Q5_1,
    /// 2 bits; a scale and a smallest value for every 16 weights.
    Q2_K,
    /// 3 bits; a scale for every 16 weights.
    Q3_K,
    /// 4 bits; a scale and a smallest value for every 32 weights.
    Q4_K,
    /// 5 bits; a scale and a smallest value for every 32 weights.
    Q5_K,
    /// 6 bits; a scale for every 16 weights.
    Q6_K,
    /// Blocks of 32 nibbles that stand for uneven steps, and a scale.
    IQ4_NL,
    /// The same with blocks of 256 and a scale for every 32 weights.
    IQ4_XS,
}

impl FileQuant {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Q5_0,
        Self::Q5_1,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::IQ4_NL,
        Self::IQ4_XS,
    ];

    /// ggml's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q2_K => "Q2_K",
            Self::Q3_K => "Q3_K",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
            Self::IQ4_NL => "IQ4_NL",
            Self::IQ4_XS => "IQ4_XS",
        }
    }

    /// What it becomes. [`WeightKind::Q4_1`] holds what 4 bits with a smallest value say but for the rounding of both to f16;
    /// [`WeightKind::Q8_0`] holds Q5_0 and IQ4_NL exactly, and others to a 254th of the largest weight of 32.
    pub const fn kind(self) -> WeightKind {
        match self {
            Self::Q4_K => WeightKind::Q4_1,
            _ => WeightKind::Q8_0,
        }
    }

    /// Weights a block.
    pub const fn block_len(self) -> usize {
        match self {
            Self::Q5_0 | Self::Q5_1 | Self::IQ4_NL => BLOCK,
            _ => SUPER,
        }
    }

    /// Bytes a block takes in a file.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Q5_0 => 2 + 4 + 16,
            Self::Q5_1 => 4 + 4 + 16,
            Self::Q2_K => 16 + 64 + 4,
            Self::Q3_K => 32 + 64 + 12 + 2,
            Self::Q4_K => 4 + 12 + 128,
            Self::Q5_K => 4 + 12 + 32 + 128,
            Self::Q6_K => 128 + 64 + 16 + 2,
            Self::IQ4_NL => 2 + 16,
            Self::IQ4_XS => 2 + 2 + 4 + 128,
        }
    }

    /// Every weight of a file's blocks as f32.
    pub fn dequantize(self, bytes: &[u8]) -> Vec<f32> {
        bytes.chunks_exact(self.block_bytes()).flat_map(|block| self.weights(block)).collect()
    }

    /// A file's blocks as blocks of [`FileQuant::kind`]. What is no number stays none: the scale says so.
    pub fn repack(self, bytes: &[u8]) -> Vec<u8> {
        let blocks = bytes.chunks_exact(self.block_bytes());
        match self {
            Self::Q4_K => blocks.flat_map(q4_1_of_q4_k).collect(),
            Self::Q5_0 => blocks.flat_map(|block| q8_exactly(half_at(block, 0), fives(&block[2..], -16))).collect(),
            Self::IQ4_NL => blocks.flat_map(|block| q8_exactly(half_at(block, 0), uneven(&block[2..]))).collect(),
            _ => blocks.flat_map(|block| q8_0_of(&self.weights(block))).collect(),
        }
    }

    fn weights(self, block: &[u8]) -> Vec<f32> {
        match self {
            Self::Q5_0 => scaled(half_at(block, 0).to_f32(), fives(&block[2..], -16)).collect(),
            Self::Q5_1 => {
                let (scale, minimum) = (half_at(block, 0).to_f32(), half_at(block, 2).to_f32());
                scaled(scale, fives(&block[4..], 0)).map(|weight| weight + minimum).collect()
            }
            Self::Q2_K => q2_k(block),
            Self::Q3_K => q3_k(block),
            Self::Q4_K => q4_k(block),
            Self::Q5_K => q5_k(block),
            Self::Q6_K => q6_k(block),
            Self::IQ4_NL => scaled(half_at(block, 0).to_f32(), uneven(&block[2..])).collect(),
            Self::IQ4_XS => iq4_xs(block),
        }
    }
}

/// A type of a GGUF file's tensor that can be read.
#[derive(Clone, Copy)]
pub(super) enum Stored {
    Plain(WeightKind),
    Packed(FileQuant),
}

impl Stored {
    /// By its number in `enum ggml_type`.
    pub fn of_number(ggml_type: u32) -> Option<Self> {
        let name = type_name(ggml_type);
        let plain = WeightKind::ALL.into_iter().find(|kind| kind.name() == name).map(Self::Plain);
        plain.or_else(|| FileQuant::ALL.into_iter().find(|packed| packed.name() == name).map(Self::Packed))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain(kind) => kind.name(),
            Self::Packed(packed) => packed.name(),
        }
    }

    /// Bytes a tensor takes in the file, or `None` where its rows are not whole blocks or the size overflows.
    pub fn byte_count(self, shape: &[usize]) -> Option<usize> {
        match self {
            Self::Plain(kind) => kind.byte_count(shape),
            Self::Packed(packed) => byte_count(packed.block_len(), packed.block_bytes(), shape),
        }
    }

    /// What a reader gets, and what it is unpacked from.
    pub fn handed_out(self) -> (WeightKind, Option<FileQuant>) {
        match self {
            Self::Plain(kind) => (kind, None),
            Self::Packed(packed) => (packed.kind(), Some(packed)),
        }
    }
}

fn half_at(block: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([block[at], block[at + 1]])
}

fn scaled(scale: f32, quants: impl Iterator<Item = i8>) -> impl Iterator<Item = f32> {
    quants.map(move |quant| scale * f32::from(quant))
}

/// 32 numbers of 5 bits: the fifth bits of all in a word, then the others in nibbles.
fn fives(bytes: &[u8], offset: i8) -> impl Iterator<Item = i8> {
    let (high, low) = bytes.split_at(4);
    let high = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
    nibbles(low).enumerate().map(move |(i, nibble)| (nibble | (((high >> i) & 1) as u8) << 4) as i8 + offset)
}

/// All low nibbles, then all high ones.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4))
}

fn uneven(bytes: &[u8]) -> impl Iterator<Item = i8> {
    nibbles(bytes).map(|nibble| IQ4[usize::from(nibble)])
}

/// Bytes: a scale and a smallest value of 4 bits for each 16, 2 bits a weight, the scales of both.
fn q2_k(block: &[u8]) -> Vec<f32> {
    let (scales, quants) = (&block[..16], &block[16..80]);
    let (scale, minimum) = (half_at(block, 80).to_f32(), half_at(block, 82).to_f32());
    let weight = |i: usize| {
        let (half, in_half) = (i / 128, i % 128);
        let quant = (quants[32 * half + in_half % 32] >> (2 * (in_half / 32))) & 3;
        let both = scales[i / 16];
        scale * f32::from(both & 15) * f32::from(quant) - minimum * f32::from(both >> 4)
    };
    (0..SUPER).map(weight).collect()
}

/// Bytes: the third bits, 2 bits a weight, scales of 6 bits for each 16 in 12 bytes, their scale.
fn q3_k(block: &[u8]) -> Vec<f32> {
    let (high, quants, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let scale = half_at(block, 108).to_f32();
    let scale_of = |i: usize| {
        let low = if i < 8 { packed[i] & 15 } else { packed[i - 8] >> 4 };
        let top = (packed[8 + i % 4] >> (2 * (i / 4))) & 3;
        f32::from((low | (top << 4)) as i8 - 32)
    };
    let weight = |i: usize| {
        let (half, in_half) = (i / 128, i % 128);
        let low = (quants[32 * half + in_half % 32] >> (2 * (in_half / 32))) & 3;
        let is_high = (high[i % 32] >> (i / 32)) & 1 == 1;
        scale * scale_of(i / 16) * (f32::from(low) - if is_high { 0.0 } else { 4.0 })
    };
    (0..SUPER).map(weight).collect()
}

/// Scale and smallest value of 6 bits of the `i`-th 32 weights, of eight pairs in 12 bytes (ggml's `get_scale_min_k4`).
fn scale_and_minimum(packed: &[u8], i: usize) -> (u8, u8) {
    match i < 4 {
        true => (packed[i] & 63, packed[i + 4] & 63),
        false => ((packed[i + 4] & 15) | ((packed[i - 4] >> 6) << 4), (packed[i + 4] >> 4) | ((packed[i] >> 6) << 4)),
    }
}

/// The `i`-th 32 of 256 nibbles: low and high ones of 32 bytes take turns.
fn nibbles_of_32(quants: &[u8], i: usize) -> impl Iterator<Item = u8> {
    quants[32 * (i / 2)..][..32].iter().map(move |byte| (byte >> (4 * (i % 2))) & 15)
}

/// Bytes: scales of scales and of smallest values, both for each 32 in 12 bytes, nibbles.
fn q4_k(block: &[u8]) -> Vec<f32> {
    let (scale, minimum) = (half_at(block, 0).to_f32(), half_at(block, 2).to_f32());
    let of_32 = |i: usize| {
        let (by, from) = scale_and_minimum(&block[4..16], i);
        let (by, from) = (scale * f32::from(by), minimum * f32::from(from));
        nibbles_of_32(&block[16..], i).map(move |quant| by * f32::from(quant) - from)
    };
    (0..8).flat_map(of_32).collect()
}

fn q4_1_of_q4_k(block: &[u8]) -> Vec<u8> {
    let (scale, minimum) = (half_at(block, 0).to_f32(), half_at(block, 2).to_f32());
    let of_32 = |i: usize| {
        let (by, from) = scale_and_minimum(&block[4..16], i);
        let quants: Vec<u8> = nibbles_of_32(&block[16..], i).collect();
        let head = [f16::from_f32(scale * f32::from(by)), f16::from_f32(-minimum * f32::from(from))];
        let packed = (0..BLOCK / 2).map(move |at| quants[at] | (quants[at + BLOCK / 2] << 4));
        head.into_iter().flat_map(f16::to_le_bytes).chain(packed)
    };
    (0..8).flat_map(of_32).collect()
}

/// As Q4_K, with the fifth bits before the nibbles.
fn q5_k(block: &[u8]) -> Vec<f32> {
    let (scale, minimum) = (half_at(block, 0).to_f32(), half_at(block, 2).to_f32());
    let high = &block[16..48];
    let of_32 = |i: usize| {
        let (by, from) = scale_and_minimum(&block[4..16], i);
        let (by, from) = (scale * f32::from(by), minimum * f32::from(from));
        let fifth = move |byte: &u8| ((byte >> i) & 1) << 4;
        let quants = nibbles_of_32(&block[48..], i).zip(high).map(move |(low, high)| low | fifth(high));
        quants.map(move |quant| by * f32::from(quant) - from)
    };
    (0..8).flat_map(of_32).collect()
}

/// Bytes: low nibbles, the upper 2 bits, signed scales for each 16, their scale.
fn q6_k(block: &[u8]) -> Vec<f32> {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half_at(block, 208).to_f32();
    let weight = |i: usize| {
        let (half, in_half) = (i / 128, i % 128);
        let (quarter, at) = (in_half / 32, in_half % 32);
        let nibble = (low[64 * half + 32 * (quarter % 2) + at] >> (4 * (quarter / 2))) & 15;
        let top = (high[32 * half + at] >> (2 * quarter)) & 3;
        scale * f32::from(scales[i / 16] as i8) * (f32::from(nibble | (top << 4)) - 32.0)
    };
    (0..SUPER).map(weight).collect()
}

/// Bytes: a scale, scales of 6 bits for each 32 (upper 2 bits of all, then lower 4), nibbles.
fn iq4_xs(block: &[u8]) -> Vec<f32> {
    let scale = half_at(block, 0).to_f32();
    let tops = u16::from_le_bytes([block[2], block[3]]);
    let of_32 = |i: usize| {
        let low = (block[4 + i / 2] >> (4 * (i % 2))) & 15;
        let top = ((tops >> (2 * i)) & 3) as u8;
        let by = scale * f32::from((low | (top << 4)) as i8 - 32);
        scaled(by, uneven(&block[8 + 16 * i..][..16]))
    };
    (0..8).flat_map(of_32).collect()
}

/// Signed bytes with the file's own scale.
fn q8_exactly(scale: f16, quants: impl Iterator<Item = i8>) -> Vec<u8> {
    scale.to_le_bytes().into_iter().chain(quants.map(|quant| quant as u8)).collect()
}

fn q8_0_of(weights: &[f32]) -> Vec<u8> {
    let block = |weights: &[f32]| match weights.iter().all(|weight| weight.is_finite()) {
        true => q8_block(weights),
        false => q8_exactly(f16::NAN, [0; BLOCK].into_iter()),
    };
    weights.chunks_exact(BLOCK).flat_map(block).collect()
}
