//! NEON on 64-bit ARM, where every processor has it.

use std::arch::aarch64::{
    float32x4_t, int8x16_t, int16x8_t, int32x4_t, uint8x16_t, vabsq_f32, vaddq_f32, vaddq_s32, vaddvq_f32, vandq_u8,
    vcvt_f32_f16, vcvtnq_s32_f32, vcvtq_f32_s32, vdup_n_u16, vdupq_n_f32, vdupq_n_s8, vdupq_n_s32, vdupq_n_u8,
    vfmaq_f32, vfmaq_n_f32, vget_low_s8, vget_low_s16, vgetq_lane_f32, vmaxnmq_f32, vmaxnmvq_f32, vmlal_high_s16,
    vmlal_s16, vmovl_high_s8, vmovl_high_s16, vmovl_s8, vmovl_s16, vmull_high_s16, vmull_s16, vmulq_f32, vpaddq_s32,
    vqmovn_high_s32, vqmovn_s32, vreinterpret_f16_u16, vreinterpretq_s8_u8, vreinterpretq_s16_s32, vshrq_n_u8,
    vsubq_s8,
};

use bytemuck::cast;

use super::{BLOCK, F32x8, I16Pairs, I16x32, LANES};

/// Eight f32 values in two registers.
#[derive(Clone, Copy)]
pub struct Neon([float32x4_t; 2]);

/// 32 integers of 16 bits in four registers.
#[derive(Clone, Copy)]
pub struct WholeNeon([int16x8_t; 4]);

with_features! { "neon": impl I16x32 for WholeNeon {
    type Sums = float32x4_t;

    fn load(values: &[i16; BLOCK]) -> Self {
        // One by one: an array that is cast as a whole is loaded again for every row that it is multiplied with.
        let [a, b, c, d] = values.as_chunks::<8>().0 else { unreachable!("32 is four times eight") };
        Self([cast(*a), cast(*b), cast(*c), cast(*d)])
    }

    fn store(self, values: &mut [i16; BLOCK]) {
        *values = cast(self.0);
    }

    fn from_i8(bytes: &[u8; BLOCK]) -> Self {
        let [low, high] = cast(*bytes);
        Self::widen(low, high)
    }

    fn from_nibbles(bytes: &[u8; 16]) -> Self {
        let [low, high] = nibbles(cast(*bytes));
        Self::widen(low, high)
    }

    fn zero_sums() -> float32x4_t {
        vdupq_n_f32(0.0)
    }

    fn add_products(self, other: Self, scale: f32, sums: float32x4_t) -> float32x4_t {
        let mut low = vmull_s16(vget_low_s16(self.0[0]), vget_low_s16(other.0[0]));
        let mut high = vmull_high_s16(self.0[0], other.0[0]);
        for part in 1..4 {
            low = vmlal_s16(low, vget_low_s16(self.0[part]), vget_low_s16(other.0[part]));
            high = vmlal_high_s16(high, self.0[part], other.0[part]);
        }
        vfmaq_n_f32(sums, vcvtq_f32_s32(vaddq_s32(low, high)), scale)
    }

    fn total(sums: float32x4_t) -> f32 {
        vaddvq_f32(sums)
    }
}}

impl WholeNeon {
    /// Twice sixteen signed bytes.
    #[inline]
    #[target_feature(enable = "neon")]
    fn widen(low: int8x16_t, high: int8x16_t) -> Self {
        Self([vmovl_s8(vget_low_s8(low)), vmovl_high_s8(low), vmovl_s8(vget_low_s8(high)), vmovl_high_s8(high)])
    }
}

/// Eight pairs of integers of 16 bits in two registers.
#[derive(Clone, Copy)]
pub struct PairsNeon([int16x8_t; 2]);

with_features! { "neon": impl I16Pairs for PairsNeon {
    // Both products of a pair are added up by themselves: one instruction multiplies and adds, and the two sums of a
    // pair come together only at the end.
    type Sums = [int32x4_t; 4];
    type Floats = Neon;

    fn load(values: &[i16; 2 * LANES]) -> Self {
        Self(cast(*values))
    }

    fn splat(pair: [i16; 2]) -> Self {
        Self([vreinterpretq_s16_s32(vdupq_n_s32(cast(pair))); 2])
    }

    fn zero_sums() -> [int32x4_t; 4] {
        [vdupq_n_s32(0); 4]
    }

    fn add_dots(self, other: Self, sums: [int32x4_t; 4]) -> [int32x4_t; 4] {
        let [a, b, c, d] = sums;
        let ([first, second], [other_first, other_second]) = (self.0, other.0);
        [
            vmlal_s16(a, vget_low_s16(first), vget_low_s16(other_first)),
            vmlal_high_s16(b, first, other_first),
            vmlal_s16(c, vget_low_s16(second), vget_low_s16(other_second)),
            vmlal_high_s16(d, second, other_second),
        ]
    }

    fn to_floats(sums: [int32x4_t; 4]) -> Neon {
        let [a, b, c, d] = sums;
        Neon([vcvtq_f32_s32(vpaddq_s32(a, b)), vcvtq_f32_s32(vpaddq_s32(c, d))])
    }
}}

with_features! { "neon": impl F32x8 for Neon {
    type Whole = WholeNeon;
    type Pairs = PairsNeon;

    const MANY_REGISTERS: bool = true;

    fn zero() -> Self {
        Self::splat(0.0)
    }

    fn splat(value: f32) -> Self {
        Self([vdupq_n_f32(value); 2])
    }

    fn load(values: &[f32; LANES]) -> Self {
        Self(cast(*values))
    }

    fn store(self, values: &mut [f32; LANES]) {
        *values = cast(self.0);
    }

    fn mul(self, factor: Self) -> Self {
        Self([vmulq_f32(self.0[0], factor.0[0]), vmulq_f32(self.0[1], factor.0[1])])
    }

    fn mul_add(self, factor: Self, term: Self) -> Self {
        let [low, high] = term.0;
        Self([vfmaq_f32(low, self.0[0], factor.0[0]), vfmaq_f32(high, self.0[1], factor.0[1])])
    }

    fn add(self, other: Self) -> Self {
        Self([vaddq_f32(self.0[0], other.0[0]), vaddq_f32(self.0[1], other.0[1])])
    }

    fn max_size(self, other: Self) -> Self {
        let [low, high] = other.0;
        // Of a NaN and a number the instruction takes the number.
        Self([vmaxnmq_f32(self.0[0], vabsq_f32(low)), vmaxnmq_f32(self.0[1], vabsq_f32(high))])
    }

    fn sum(self) -> f32 {
        vaddvq_f32(vaddq_f32(self.0[0], self.0[1]))
    }

    fn largest(self) -> f32 {
        vmaxnmvq_f32(vmaxnmq_f32(self.0[0], self.0[1]))
    }

    fn to_whole(parts: [Self; BLOCK / LANES]) -> WholeNeon {
        let [a, b, c, d] = parts;
        WholeNeon([narrow(a), narrow(b), narrow(c), narrow(d)])
    }

    fn from_i8(bytes: &[u8; LANES]) -> Self {
        widen(vmovl_s8(cast(*bytes)))
    }

    fn from_nibbles(bytes: &[u8; 16]) -> [Self; 4] {
        let [low, high] = nibbles(cast(*bytes));
        [
            widen(vmovl_s8(vget_low_s8(low))),
            widen(vmovl_high_s8(low)),
            widen(vmovl_s8(vget_low_s8(high))),
            widen(vmovl_high_s8(high)),
        ]
    }

    fn from_f16(bits: &[u16; LANES]) -> Self {
        let [low, high] = cast(*bits);
        Self([vcvt_f32_f16(vreinterpret_f16_u16(low)), vcvt_f32_f16(vreinterpret_f16_u16(high))])
    }

    fn f16(bits: u16) -> f32 {
        vgetq_lane_f32::<0>(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))))
    }
}}

/// The low and the high nibbles of all bytes, less 8.
#[inline]
#[target_feature(enable = "neon")]
fn nibbles(bytes: uint8x16_t) -> [int8x16_t; 2] {
    let (mask, eight) = (vdupq_n_u8(15), vdupq_n_s8(8));
    let (low, high) = (vandq_u8(bytes, mask), vshrq_n_u8::<4>(bytes));
    [vsubq_s8(vreinterpretq_s8_u8(low), eight), vsubq_s8(vreinterpretq_s8_u8(high), eight)]
}

/// Eight values, rounded.
#[inline]
#[target_feature(enable = "neon")]
fn narrow(Neon([low, high]): Neon) -> int16x8_t {
    vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(low)), vcvtnq_s32_f32(high))
}

/// Eight integers of 16 bits as f32 values.
#[inline]
#[target_feature(enable = "neon")]
fn widen(integers: int16x8_t) -> Neon {
    Neon([vcvtq_f32_s32(vmovl_s16(vget_low_s16(integers))), vcvtq_f32_s32(vmovl_high_s16(integers))])
}
