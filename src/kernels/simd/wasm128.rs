//! The 128-bit vectors of WebAssembly. Code that is compiled with them calls their intrinsics without `unsafe`.

use std::arch::wasm32::{
    f32x4_abs, f32x4_add, f32x4_convert_i32x4, f32x4_extract_lane, f32x4_mul, f32x4_pmax, f32x4_splat, i8x16_splat,
    i8x16_sub, i16x8_extend_high_i8x16, i16x8_extend_low_i8x16, i16x8_narrow_i32x4, i32x4_add, i32x4_dot_i16x8,
    i32x4_extend_high_i16x8, i32x4_extend_low_i16x8, i32x4_shuffle, i32x4_splat, i32x4_sub, i64x2_splat, u8x16_shr,
    u8x16_splat, u32x4_extend_high_u16x8, u32x4_extend_low_u16x8, u32x4_ge, u32x4_shl, u32x4_splat, v128, v128_and,
    v128_bitselect, v128_or,
};

use bytemuck::cast;

use super::{BLOCK, F32x8, I16Pairs, I16x32, LANES};

/// Eight f32 values in two registers.
#[derive(Clone, Copy)]
pub struct Wasm128([v128; 2]);

/// 32 integers of 16 bits in four registers.
#[derive(Clone, Copy)]
pub struct Whole128([v128; 4]);

impl I16x32 for Whole128 {
    type Sums = v128;

    #[inline(always)]
    fn load(values: &[i16; BLOCK]) -> Self {
        // One by one: an array that is cast as a whole is loaded again for every row that it is multiplied with.
        let [a, b, c, d] = values.as_chunks::<8>().0 else { unreachable!("32 is four times eight") };
        Self([cast(*a), cast(*b), cast(*c), cast(*d)])
    }

    #[inline(always)]
    fn store(self, values: &mut [i16; BLOCK]) {
        *values = cast(self.0);
    }

    #[inline(always)]
    fn from_i8(bytes: &[u8; BLOCK]) -> Self {
        let [low, high] = cast(*bytes);
        Self::widen(low, high)
    }

    #[inline(always)]
    fn from_nibbles(bytes: &[u8; 16]) -> Self {
        let [low, high] = nibbles(cast(*bytes));
        Self::widen(low, high)
    }

    #[inline(always)]
    fn zero_sums() -> v128 {
        f32x4_splat(0.0)
    }

    #[inline(always)]
    fn add_products(self, other: Self, scale: f32, sums: v128) -> v128 {
        let [a, b, c, d] = std::array::from_fn(|part| i32x4_dot_i16x8(self.0[part], other.0[part]));
        let products = f32x4_convert_i32x4(i32x4_add(i32x4_add(a, b), i32x4_add(c, d)));
        f32x4_add(f32x4_mul(products, f32x4_splat(scale)), sums)
    }

    #[inline(always)]
    fn total(sums: v128) -> f32 {
        sum(sums)
    }
}

impl Whole128 {
    /// Twice sixteen signed bytes.
    #[inline(always)]
    fn widen(low: v128, high: v128) -> Self {
        let (first, second) = (i16x8_extend_low_i8x16, i16x8_extend_high_i8x16);
        Self([first(low), second(low), first(high), second(high)])
    }
}

#[inline(always)]
fn sum(four: v128) -> f32 {
    (f32x4_extract_lane::<0>(four) + f32x4_extract_lane::<1>(four))
        + (f32x4_extract_lane::<2>(four) + f32x4_extract_lane::<3>(four))
}

/// Eight pairs of integers of 16 bits in two registers.
#[derive(Clone, Copy)]
pub struct Pairs128([v128; 2]);

impl I16Pairs for Pairs128 {
    type Sums = [v128; 2];
    type Floats = Wasm128;

    #[inline(always)]
    fn load(values: &[i16; 2 * LANES]) -> Self {
        Self(cast(*values))
    }

    #[inline(always)]
    fn splat(pair: [i16; 2]) -> Self {
        Self([i32x4_splat(cast(pair)); 2])
    }

    #[inline(always)]
    fn zero_sums() -> [v128; 2] {
        [i32x4_splat(0); 2]
    }

    #[inline(always)]
    fn add_dots(self, other: Self, [low, high]: [v128; 2]) -> [v128; 2] {
        let dots = [i32x4_dot_i16x8(self.0[0], other.0[0]), i32x4_dot_i16x8(self.0[1], other.0[1])];
        [i32x4_add(dots[0], low), i32x4_add(dots[1], high)]
    }

    #[inline(always)]
    fn to_floats([low, high]: [v128; 2]) -> Wasm128 {
        Wasm128([f32x4_convert_i32x4(low), f32x4_convert_i32x4(high)])
    }
}

impl F32x8 for Wasm128 {
    type Whole = Whole128;
    type Pairs = Pairs128;

    const MANY_REGISTERS: bool = false;

    #[inline(always)]
    fn zero() -> Self {
        Self::splat(0.0)
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([f32x4_splat(value); 2])
    }

    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self {
        Self(cast(*values))
    }

    #[inline(always)]
    fn store(self, values: &mut [f32; LANES]) {
        *values = cast(self.0);
    }

    #[inline(always)]
    fn mul(self, factor: Self) -> Self {
        Self([f32x4_mul(self.0[0], factor.0[0]), f32x4_mul(self.0[1], factor.0[1])])
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        self.mul(factor).add(term)
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self([f32x4_add(self.0[0], other.0[0]), f32x4_add(self.0[1], other.0[1])])
    }

    #[inline(always)]
    fn max_size(self, other: Self) -> Self {
        let [low, high] = other.0;
        Self([f32x4_pmax(self.0[0], f32x4_abs(low)), f32x4_pmax(self.0[1], f32x4_abs(high))])
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        sum(f32x4_add(self.0[0], self.0[1]))
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        let four = f32x4_pmax(self.0[0], self.0[1]);
        let two = f32x4_pmax(four, i32x4_shuffle::<2, 3, 0, 1>(four, four));
        f32x4_extract_lane::<0>(f32x4_pmax(two, i32x4_shuffle::<1, 0, 3, 2>(two, two)))
    }

    #[inline(always)]
    fn to_whole(parts: [Self; BLOCK / LANES]) -> Whole128 {
        // Added to a value it leaves the nearest integer in the lowest bits. The instruction that converts has to
        // care for what is not finite, and is several on every processor.
        const ROUNDING: f32 = 1.5 * (1 << 23) as f32;
        let whole = |four| {
            let bits = f32x4_add(four, f32x4_splat(ROUNDING));
            i32x4_sub(bits, i32x4_splat(ROUNDING.to_bits() as i32))
        };
        let [a, b, c, d] = parts;
        let narrow = |Self([low, high])| i16x8_narrow_i32x4(whole(low), whole(high));
        Whole128([narrow(a), narrow(b), narrow(c), narrow(d)])
    }

    #[inline(always)]
    fn from_i8(bytes: &[u8; LANES]) -> Self {
        widen(i16x8_extend_low_i8x16(i64x2_splat(cast(*bytes))))
    }

    #[inline(always)]
    fn from_f16(bits: &[u16; LANES]) -> Self {
        let bits = cast(*bits);
        Self([f32_from_f16(u32x4_extend_low_u16x8(bits)), f32_from_f16(u32x4_extend_high_u16x8(bits))])
    }

    #[inline(always)]
    fn from_nibbles(bytes: &[u8; 16]) -> [Self; 4] {
        let [low, high] = nibbles(cast(*bytes));
        [
            widen(i16x8_extend_low_i8x16(low)),
            widen(i16x8_extend_high_i8x16(low)),
            widen(i16x8_extend_low_i8x16(high)),
            widen(i16x8_extend_high_i8x16(high)),
        ]
    }
}

/// The low and the high nibbles of all bytes, less 8.
#[inline(always)]
fn nibbles(bytes: v128) -> [v128; 2] {
    let (mask, eight) = (u8x16_splat(15), i8x16_splat(8));
    [i8x16_sub(v128_and(bytes, mask), eight), i8x16_sub(u8x16_shr(bytes, 4), eight)]
}

/// Four f16 values, given as bits.
#[inline(always)]
fn f32_from_f16(bits: v128) -> v128 {
    let magnitude = v128_and(bits, u32x4_splat(0x7fff));
    // Exponent and fraction in their places, and the difference of the exponents' biases as a factor: right for
    // subnormal numbers too. An infinity or NaN keeps the largest exponent.
    let scaled = f32x4_mul(u32x4_shl(magnitude, 13), u32x4_splat(239 << 23));
    let no_number = v128_or(u32x4_shl(magnitude, 13), u32x4_splat(0x7f80_0000));
    let value = v128_bitselect(no_number, scaled, u32x4_ge(magnitude, u32x4_splat(0x7c00)));
    v128_or(value, u32x4_shl(v128_and(bits, u32x4_splat(0x8000)), 16))
}

/// Eight integers of 16 bits as f32 values.
#[inline(always)]
fn widen(integers: v128) -> Wasm128 {
    let (low, high) = (i32x4_extend_low_i16x8(integers), i32x4_extend_high_i16x8(integers));
    Wasm128([f32x4_convert_i32x4(low), f32x4_convert_i32x4(high)])
}
