//! AVX2, FMA and F16C on x86-64.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_and_si128, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm_cvtss_f32, _mm_loadl_epi64,
    _mm_loadu_si128, _mm_set1_epi8, _mm_srli_epi16, _mm_sub_epi8, _mm_unpackhi_epi64, _mm256_add_epi32, _mm256_add_ps,
    _mm256_andnot_ps, _mm256_cvtepi8_epi16, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtph_ps,
    _mm256_cvtps_epi32, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_max_ps,
    _mm256_mul_ps, _mm256_packs_epi32, _mm256_permute4x64_epi64, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_setzero_si256, _mm256_storeu_ps, _mm256_storeu_si256,
};

use super::plain::larger_of;
use super::{BLOCK, F32x8, I16Pairs, I16x32, LANES};

/// Only made by `with_simd`, after it has found AVX2, FMA and F16C: what makes every call below sound.
#[derive(Clone, Copy)]
pub struct Avx2(__m256);

/// As sound as [`Avx2`], for the same reason.
#[derive(Clone, Copy)]
pub struct WholeAvx2(pub(super) [__m256i; 2]);

// No intrinsic stands in a closure: it would become a call for each, thirty times slower.
impl I16x32 for WholeAvx2 {
    type Sums = Avx2;

    #[inline(always)]
    fn load(values: &[i16; BLOCK]) -> Self {
        let (low, high) = values.split_at(16);
        // SAFETY: see `Avx2`; sixteen numbers are read from sixteen, at any alignment, twice.
        unsafe { Self([_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast())]) }
    }

    #[inline(always)]
    fn store(self, values: &mut [i16; BLOCK]) {
        let (low, high) = values.split_at_mut(16);
        // SAFETY: see `Avx2`; sixteen numbers are written to sixteen, at any alignment, twice.
        unsafe {
            _mm256_storeu_si256(low.as_mut_ptr().cast(), self.0[0]);
            _mm256_storeu_si256(high.as_mut_ptr().cast(), self.0[1]);
        }
    }

    #[inline(always)]
    fn from_i8(bytes: &[u8; BLOCK]) -> Self {
        let (low, high) = bytes.split_at(16);
        // SAFETY: see `Avx2`; sixteen bytes are read from sixteen, at any alignment, twice.
        unsafe {
            let (low, high) = (_mm_loadu_si128(low.as_ptr().cast()), _mm_loadu_si128(high.as_ptr().cast()));
            Self([_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high)])
        }
    }

    #[inline(always)]
    fn from_nibbles(bytes: &[u8; 16]) -> Self {
        // SAFETY: see `Avx2`; sixteen bytes are read from sixteen, at any alignment.
        unsafe {
            let (low, high) = nibbles(_mm_loadu_si128(bytes.as_ptr().cast()));
            Self([_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high)])
        }
    }

    #[inline(always)]
    fn zero_sums() -> Avx2 {
        Avx2::zero()
    }

    #[inline(always)]
    fn add_products(self, other: Self, scale: f32, sums: Avx2) -> Avx2 {
        // SAFETY: see `Avx2`.
        let products = unsafe {
            let low = _mm256_madd_epi16(self.0[0], other.0[0]);
            let high = _mm256_madd_epi16(self.0[1], other.0[1]);
            Avx2(_mm256_cvtepi32_ps(_mm256_add_epi32(low, high)))
        };
        products.mul_add(Avx2::splat(scale), sums)
    }

    #[inline(always)]
    fn total(sums: Avx2) -> f32 {
        sums.sum()
    }
}

/// The low and the high nibbles of all bytes, less 8.
#[inline(always)]
fn nibbles(bytes: __m128i) -> (__m128i, __m128i) {
    // SAFETY: see `Avx2`.
    unsafe {
        let (mask, eight) = (_mm_set1_epi8(15), _mm_set1_epi8(8));
        let low = _mm_sub_epi8(_mm_and_si128(bytes, mask), eight);
        (low, _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16::<4>(bytes), mask), eight))
    }
}

/// As sound as [`Avx2`], for the same reason.
#[derive(Clone, Copy)]
pub struct PairsAvx2(pub(super) __m256i);

impl I16Pairs for PairsAvx2 {
    type Sums = __m256i;
    type Floats = Avx2;

    #[inline(always)]
    fn load(values: &[i16; 2 * LANES]) -> Self {
        // SAFETY: see `Avx2`; sixteen numbers are read from sixteen, at any alignment.
        Self(unsafe { _mm256_loadu_si256(values.as_ptr().cast()) })
    }

    #[inline(always)]
    fn splat([low, high]: [i16; 2]) -> Self {
        let pair = i32::from(high) << 16 | i32::from(low as u16);
        // SAFETY: see `Avx2`.
        Self(unsafe { _mm256_set1_epi32(pair) })
    }

    #[inline(always)]
    fn zero_sums() -> __m256i {
        // SAFETY: see `Avx2`.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    fn add_dots(self, other: Self, sums: __m256i) -> __m256i {
        // SAFETY: see `Avx2`.
        unsafe { _mm256_add_epi32(_mm256_madd_epi16(self.0, other.0), sums) }
    }

    #[inline(always)]
    fn to_floats(sums: __m256i) -> Avx2 {
        // SAFETY: see `Avx2`.
        Avx2(unsafe { _mm256_cvtepi32_ps(sums) })
    }
}

impl F32x8 for Avx2 {
    type Whole = WholeAvx2;
    type Pairs = PairsAvx2;

    const MANY_REGISTERS: bool = true;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see `Avx2`.
        Self(unsafe { _mm256_setzero_ps() })
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: see `Avx2`.
        Self(unsafe { _mm256_set1_ps(value) })
    }

    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self {
        // SAFETY: see `Avx2`; eight numbers are read from eight, at any alignment.
        Self(unsafe { _mm256_loadu_ps(values.as_ptr()) })
    }

    #[inline(always)]
    fn store(self, values: &mut [f32; LANES]) {
        // SAFETY: see `Avx2`; eight numbers are written to eight, at any alignment.
        unsafe { _mm256_storeu_ps(values.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    fn mul(self, factor: Self) -> Self {
        // SAFETY: see `Avx2`.
        Self(unsafe { _mm256_mul_ps(self.0, factor.0) })
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        // SAFETY: see `Avx2`.
        Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, term.0) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see `Avx2`.
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn max_size(self, other: Self) -> Self {
        // SAFETY: see `Avx2`. Of a NaN and a number the instruction takes the second.
        Self(unsafe { _mm256_max_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0), other.0), self.0) })
    }

    #[inline(always)]
    fn to_whole([a, b, c, d]: [Self; BLOCK / LANES]) -> WholeAvx2 {
        WholeAvx2([narrow(a, b), narrow(c, d)])
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let mut values = [0.0; LANES];
        self.store(&mut values);
        let [a, b, c, d, e, f, g, h] = values;
        ((a + e) + (b + f)) + ((c + g) + (d + h))
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        let mut values = [0.0; LANES];
        self.store(&mut values);
        larger_of(values)
    }

    #[inline(always)]
    fn from_i8(bytes: &[u8; LANES]) -> Self {
        // SAFETY: see `Avx2`; eight bytes are read from eight.
        widen(unsafe { _mm_loadl_epi64(bytes.as_ptr().cast()) })
    }

    #[inline(always)]
    fn from_nibbles(bytes: &[u8; 16]) -> [Self; 4] {
        // SAFETY: see `Avx2`; sixteen bytes are read from sixteen, at any alignment.
        unsafe {
            let (low, high) = nibbles(_mm_loadu_si128(bytes.as_ptr().cast()));
            let upper = |half: __m128i| _mm_unpackhi_epi64(half, half);
            [widen(low), widen(upper(low)), widen(high), widen(upper(high))]
        }
    }

    #[inline(always)]
    fn from_f16(bits: &[u16; LANES]) -> Self {
        // SAFETY: see `Avx2`; sixteen bytes are read from sixteen, at any alignment.
        Self(unsafe { _mm256_cvtph_ps(_mm_loadu_si128(bits.as_ptr().cast())) })
    }

    #[inline(always)]
    fn f16(bits: u16) -> f32 {
        // SAFETY: see `Avx2`.
        unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits)))) }
    }
}

/// Sixteen numbers, rounded.
#[inline(always)]
fn narrow(low: Avx2, high: Avx2) -> __m256i {
    // SAFETY: see `Avx2`.
    unsafe {
        // Packs each half of 128 bits by itself.
        let mixed = _mm256_packs_epi32(_mm256_cvtps_epi32(low.0), _mm256_cvtps_epi32(high.0));
        _mm256_permute4x64_epi64::<0b11_01_10_00>(mixed)
    }
}

/// The lower eight signed bytes as numbers.
#[inline(always)]
fn widen(bytes: __m128i) -> Avx2 {
    // SAFETY: see `Avx2`.
    Avx2(unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)) })
}
