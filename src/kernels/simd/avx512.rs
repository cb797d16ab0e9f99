//! Integers in vectors twice as wide as those of `avx2`, multiplied and added by one instruction. Floats stay as they
//! are: what is done with them waits for memory.

use std::arch::x86_64::{
    __m256i, __m512, __m512i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_dpwssd_epi32,
    _mm256_loadu_si256, _mm256_set1_epi8, _mm256_setr_epi32, _mm256_srlv_epi32, _mm256_sub_epi8,
    _mm512_castsi256_si512, _mm512_cvtepi8_epi16, _mm512_cvtepi32_ps, _mm512_dpwssd_epi32, _mm512_fmadd_ps,
    _mm512_inserti64x4, _mm512_loadu_si512, _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_storeu_si512,
};

use super::avx2::{Avx2, PairsAvx2};
use super::{BLOCK, F32x8, I16Pairs, I16x32, LANES};

/// Only made by `with_simd`, after it has found AVX-512 with VNNI, and all that [`Avx2`] takes: what makes every call below
/// sound.
#[derive(Clone, Copy)]
pub struct Avx512(Avx2);

/// As sound as [`Avx512`], for the same reason.
#[derive(Clone, Copy)]
pub struct WholeAvx512(__m512i);

impl I16x32 for WholeAvx512 {
    type Sums = __m512;

    #[inline(always)]
    fn load(values: &[i16; BLOCK]) -> Self {
        // SAFETY: see `Avx512`; 32 numbers are read from 32, at any alignment.
        Self(unsafe { _mm512_loadu_si512(values.as_ptr().cast()) })
    }

    #[inline(always)]
    fn store(self, values: &mut [i16; BLOCK]) {
        // SAFETY: see `Avx512`; 32 numbers are written to 32, at any alignment.
        unsafe { _mm512_storeu_si512(values.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn from_i8(bytes: &[u8; BLOCK]) -> Self {
        // SAFETY: see `Avx512`; 32 bytes are read from 32, at any alignment.
        Self(unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(bytes.as_ptr().cast())) })
    }

    #[inline(always)]
    fn from_nibbles(bytes: &[u8; 16]) -> Self {
        // SAFETY: see `Avx512`; sixteen bytes are read from sixteen, at any alignment.
        unsafe {
            let twice = _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes.as_ptr().cast()));
            let shifted = _mm256_srlv_epi32(twice, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
            let nibbles = _mm256_and_si256(shifted, _mm256_set1_epi8(15));
            Self(_mm512_cvtepi8_epi16(_mm256_sub_epi8(nibbles, _mm256_set1_epi8(8))))
        }
    }

    #[inline(always)]
    fn zero_sums() -> __m512 {
        // SAFETY: see `Avx512`.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    fn add_products(self, other: Self, scale: f32, sums: __m512) -> __m512 {
        // SAFETY: see `Avx512`.
        unsafe {
            let products = _mm512_dpwssd_epi32(_mm512_setzero_si512(), self.0, other.0);
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), _mm512_set1_ps(scale), sums)
        }
    }

    #[inline(always)]
    fn total(sums: __m512) -> f32 {
        // SAFETY: see `Avx512`.
        unsafe { _mm512_reduce_add_ps(sums) }
    }
}

/// As sound as [`Avx512`], for the same reason.
#[derive(Clone, Copy)]
pub struct PairsAvx512(PairsAvx2);

impl I16Pairs for PairsAvx512 {
    type Sums = __m256i;
    type Floats = Avx512;

    #[inline(always)]
    fn load(values: &[i16; 2 * LANES]) -> Self {
        Self(PairsAvx2::load(values))
    }

    #[inline(always)]
    fn splat(pair: [i16; 2]) -> Self {
        Self(PairsAvx2::splat(pair))
    }

    #[inline(always)]
    fn zero_sums() -> __m256i {
        PairsAvx2::zero_sums()
    }

    #[inline(always)]
    fn add_dots(self, other: Self, sums: __m256i) -> __m256i {
        // SAFETY: see `Avx512`.
        unsafe { _mm256_dpwssd_epi32(sums, self.0.0, other.0.0) }
    }

    #[inline(always)]
    fn to_floats(sums: __m256i) -> Avx512 {
        Avx512(PairsAvx2::to_floats(sums))
    }
}

impl F32x8 for Avx512 {
    type Whole = WholeAvx512;
    type Pairs = PairsAvx512;

    const MANY_REGISTERS: bool = true;

    #[inline(always)]
    fn zero() -> Self {
        Self(Avx2::zero())
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(Avx2::splat(value))
    }

    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self {
        Self(Avx2::load(values))
    }

    #[inline(always)]
    fn store(self, values: &mut [f32; LANES]) {
        self.0.store(values);
    }

    #[inline(always)]
    fn mul(self, factor: Self) -> Self {
        Self(self.0.mul(factor.0))
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        Self(self.0.mul_add(factor.0, term.0))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0.add(other.0))
    }

    #[inline(always)]
    fn max_size(self, other: Self) -> Self {
        Self(self.0.max_size(other.0))
    }

    #[inline(always)]
    fn to_whole([a, b, c, d]: [Self; BLOCK / LANES]) -> WholeAvx512 {
        let [low, high] = Avx2::to_whole([a.0, b.0, c.0, d.0]).0;
        // SAFETY: see `Avx512`.
        WholeAvx512(unsafe { _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high) })
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        self.0.sum()
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        self.0.largest()
    }

    #[inline(always)]
    fn from_i8(bytes: &[u8; LANES]) -> Self {
        Self(Avx2::from_i8(bytes))
    }

    #[inline(always)]
    fn from_nibbles(bytes: &[u8; 16]) -> [Self; 4] {
        let [a, b, c, d] = Avx2::from_nibbles(bytes);
        [Self(a), Self(b), Self(c), Self(d)]
    }

    #[inline(always)]
    fn from_f16(bits: &[u16; LANES]) -> Self {
        Self(Avx2::from_f16(bits))
    }

    #[inline(always)]
    fn f16(bits: u16) -> f32 {
        Avx2::f16(bits)
    }
}
