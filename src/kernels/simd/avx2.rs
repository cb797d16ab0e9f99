//! AVX2, FMA and F16C on x86-64.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_and_si128, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm_cvtsi64_si128, _mm_cvtss_f32,
    _mm_set1_epi8, _mm_srli_epi16, _mm_sub_epi8, _mm_unpackhi_epi64, _mm256_add_epi32, _mm256_add_ps, _mm256_andnot_ps,
    _mm256_cvtepi8_epi16, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_cvtps_epi32,
    _mm256_fmadd_ps, _mm256_madd_epi16, _mm256_max_ps, _mm256_mul_ps, _mm256_packs_epi32, _mm256_permute4x64_epi64,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256,
};

use bytemuck::cast;

use super::plain::larger_of;
use super::{BLOCK, F32x8, I16Pairs, I16x32, LANES};

/// Eight f32 values in a register.
#[derive(Clone, Copy)]
pub struct Avx2(__m256);

with_features! { "avx2,fma,f16c": impl F32x8 for Avx2 {
    type Whole = WholeAvx2;
    type Pairs = PairsAvx2;

    const MANY_REGISTERS: bool = true;

    fn zero() -> Self {
        Self(_mm256_setzero_ps())
    }

    fn splat(value: f32) -> Self {
        Self(_mm256_set1_ps(value))
    }

    fn load(values: &[f32; LANES]) -> Self {
        Self(cast(*values))
    }

    fn store(self, values: &mut [f32; LANES]) {
        *values = cast(self.0);
    }

    fn mul(self, factor: Self) -> Self {
        Self(_mm256_mul_ps(self.0, factor.0))
    }

    fn mul_add(self, factor: Self, term: Self) -> Self {
        Self(_mm256_fmadd_ps(self.0, factor.0, term.0))
    }

    fn add(self, other: Self) -> Self {
        Self(_mm256_add_ps(self.0, other.0))
    }

    fn max_size(self, other: Self) -> Self {
        let size = _mm256_andnot_ps(_mm256_set1_ps(-0.0), other.0);
        Self(_mm256_max_ps(size, self.0)) // of a NaN and a number the instruction takes the second
    }

    fn sum(self) -> f32 {
        let [a, b, c, d, e, f, g, h]: [f32; LANES] = cast(self.0);
        ((a + e) + (b + f)) + ((c + g) + (d + h))
    }

    fn largest(self) -> f32 {
        larger_of(cast(self.0))
    }

    fn to_whole(parts: [Self; BLOCK / LANES]) -> WholeAvx2 {
        let [a, b, c, d] = parts;
        WholeAvx2([narrow(a, b), narrow(c, d)])
    }

    fn from_i8(bytes: &[u8; LANES]) -> Self {
        widen(_mm_cvtsi64_si128(cast(*bytes)))
    }

    fn from_nibbles(bytes: &[u8; 16]) -> [Self; 4] {
        let (low, high) = nibbles(cast(*bytes));
        let (low_end, high_end) = (_mm_unpackhi_epi64(low, low), _mm_unpackhi_epi64(high, high));
        [widen(low), widen(low_end), widen(high), widen(high_end)]
    }

    fn from_f16(bits: &[u16; LANES]) -> Self {
        Self(_mm256_cvtph_ps(cast(*bits)))
    }

    fn f16(bits: u16) -> f32 {
        _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
    }
}}

/// 32 integers of 16 bits in two registers.
#[derive(Clone, Copy)]
pub struct WholeAvx2(pub(super) [__m256i; 2]);

with_features! { "avx2,fma,f16c": impl I16x32 for WholeAvx2 {
    type Sums = Avx2;

    fn load(values: &[i16; BLOCK]) -> Self {
        // One by one: an array that is cast as a whole is loaded again for every row that it is multiplied with.
        let [a, b] = values.as_chunks::<16>().0 else { unreachable!("32 is twice sixteen") };
        Self([cast(*a), cast(*b)])
    }

    fn store(self, values: &mut [i16; BLOCK]) {
        *values = cast(self.0);
    }

    fn from_i8(bytes: &[u8; BLOCK]) -> Self {
        let [low, high]: [__m128i; 2] = cast(*bytes);
        Self([_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high)])
    }

    fn from_nibbles(bytes: &[u8; 16]) -> Self {
        let (low, high) = nibbles(cast(*bytes));
        Self([_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high)])
    }

    fn zero_sums() -> Avx2 {
        Avx2::zero()
    }

    fn add_products(self, other: Self, scale: f32, sums: Avx2) -> Avx2 {
        let low = _mm256_madd_epi16(self.0[0], other.0[0]);
        let high = _mm256_madd_epi16(self.0[1], other.0[1]);
        let products = Avx2(_mm256_cvtepi32_ps(_mm256_add_epi32(low, high)));
        products.mul_add(Avx2::splat(scale), sums)
    }

    fn total(sums: Avx2) -> f32 {
        sums.sum()
    }
}}

/// Eight pairs of integers of 16 bits in a register.
#[derive(Clone, Copy)]
pub struct PairsAvx2(pub(super) __m256i);

with_features! { "avx2,fma,f16c": impl I16Pairs for PairsAvx2 {
    type Sums = __m256i;
    type Floats = Avx2;

    fn load(values: &[i16; 2 * LANES]) -> Self {
        Self(cast(*values))
    }

    fn splat(pair: [i16; 2]) -> Self {
        Self(_mm256_set1_epi32(cast(pair)))
    }

    fn zero_sums() -> __m256i {
        _mm256_setzero_si256()
    }

    fn add_dots(self, other: Self, sums: __m256i) -> __m256i {
        _mm256_add_epi32(_mm256_madd_epi16(self.0, other.0), sums)
    }

    fn to_floats(sums: __m256i) -> Avx2 {
        Avx2(_mm256_cvtepi32_ps(sums))
    }
}}

/// The low and the high nibbles of all bytes, less 8.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibbles(bytes: __m128i) -> (__m128i, __m128i) {
    let (mask, eight) = (_mm_set1_epi8(15), _mm_set1_epi8(8));
    let low = _mm_sub_epi8(_mm_and_si128(bytes, mask), eight);
    (low, _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16::<4>(bytes), mask), eight))
}

/// Sixteen values, rounded.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn narrow(low: Avx2, high: Avx2) -> __m256i {
    // Packs each half of 128 bits by itself.
    let mixed = _mm256_packs_epi32(_mm256_cvtps_epi32(low.0), _mm256_cvtps_epi32(high.0));
    _mm256_permute4x64_epi64::<0b11_01_10_00>(mixed)
}

/// The lower eight signed bytes as f32 values.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widen(bytes: __m128i) -> Avx2 {
    Avx2(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)))
}
