//! AVX-512 with VNNI on x86-64: integers in vectors twice as wide as those of AVX2, multiplied and added by one instruction.
//! Floats stay as they are in AVX2: what is done with them waits for memory.

use std::arch::x86_64::{
    __m256i, __m512, __m512i, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_dpwssd_epi32, _mm256_set1_epi8,
    _mm256_setr_epi32, _mm256_srlv_epi32, _mm256_sub_epi8, _mm512_castsi256_si512, _mm512_cvtepi8_epi16,
    _mm512_cvtepi32_ps, _mm512_dpwssd_epi32, _mm512_fmadd_ps, _mm512_inserti64x4, _mm512_reduce_add_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_setzero_si512,
};

use bytemuck::cast;

use super::avx2::{Avx2, PairsAvx2};
use super::{BLOCK, F32x8, I16Pairs, I16x32, LANES};

/// Eight f32 values in a register.
#[derive(Clone, Copy)]
pub struct Avx512(Avx2);

with_features! { "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni": impl F32x8 for Avx512 {
    type Whole = WholeAvx512;
    type Pairs = PairsAvx512;

    const MANY_REGISTERS: bool = true;

    fn zero() -> Self {
        Self(Avx2::zero())
    }

    fn splat(value: f32) -> Self {
        Self(Avx2::splat(value))
    }

    fn load(values: &[f32; LANES]) -> Self {
        Self(Avx2::load(values))
    }

    fn store(self, values: &mut [f32; LANES]) {
        self.0.store(values);
    }

    fn mul(self, factor: Self) -> Self {
        Self(self.0.mul(factor.0))
    }

    fn mul_add(self, factor: Self, term: Self) -> Self {
        Self(self.0.mul_add(factor.0, term.0))
    }

    fn add(self, other: Self) -> Self {
        Self(self.0.add(other.0))
    }

    fn max_size(self, other: Self) -> Self {
        Self(self.0.max_size(other.0))
    }

    fn sum(self) -> f32 {
        self.0.sum()
    }

    fn largest(self) -> f32 {
        self.0.largest()
    }

    fn to_whole(parts: [Self; BLOCK / LANES]) -> WholeAvx512 {
        let [a, b, c, d] = parts;
        let [low, high] = Avx2::to_whole([a.0, b.0, c.0, d.0]).0;
        WholeAvx512(_mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high))
    }

    fn from_i8(bytes: &[u8; LANES]) -> Self {
        Self(Avx2::from_i8(bytes))
    }

    fn from_nibbles(bytes: &[u8; 16]) -> [Self; 4] {
        let [a, b, c, d] = Avx2::from_nibbles(bytes);
        [Self(a), Self(b), Self(c), Self(d)]
    }

    fn from_f16(bits: &[u16; LANES]) -> Self {
        Self(Avx2::from_f16(bits))
    }

    fn f16(bits: u16) -> f32 {
        Avx2::f16(bits)
    }
}}

/// 32 integers of 16 bits in a register.
#[derive(Clone, Copy)]
pub struct WholeAvx512(__m512i);

with_features! { "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni": impl I16x32 for WholeAvx512 {
    type Sums = __m512;

    fn load(values: &[i16; BLOCK]) -> Self {
        Self(cast(*values))
    }

    fn store(self, values: &mut [i16; BLOCK]) {
        *values = cast(self.0);
    }

    fn from_i8(bytes: &[u8; BLOCK]) -> Self {
        Self(_mm512_cvtepi8_epi16(cast(*bytes)))
    }

    fn from_nibbles(bytes: &[u8; 16]) -> Self {
        let twice = _mm256_broadcastsi128_si256(cast(*bytes));
        let shifted = _mm256_srlv_epi32(twice, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
        let nibbles = _mm256_and_si256(shifted, _mm256_set1_epi8(15));
        Self(_mm512_cvtepi8_epi16(_mm256_sub_epi8(nibbles, _mm256_set1_epi8(8))))
    }

    fn zero_sums() -> __m512 {
        _mm512_setzero_ps()
    }

    fn add_products(self, other: Self, scale: f32, sums: __m512) -> __m512 {
        let products = _mm512_dpwssd_epi32(_mm512_setzero_si512(), self.0, other.0);
        _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), _mm512_set1_ps(scale), sums)
    }

    fn total(sums: __m512) -> f32 {
        _mm512_reduce_add_ps(sums)
    }
}}

/// Eight pairs of integers of 16 bits in a register.
#[derive(Clone, Copy)]
pub struct PairsAvx512(PairsAvx2);

with_features! { "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni": impl I16Pairs for PairsAvx512 {
    type Sums = __m256i;
    type Floats = Avx512;

    fn load(values: &[i16; 2 * LANES]) -> Self {
        Self(PairsAvx2::load(values))
    }

    fn splat(pair: [i16; 2]) -> Self {
        Self(PairsAvx2::splat(pair))
    }

    fn zero_sums() -> __m256i {
        PairsAvx2::zero_sums()
    }

    fn add_dots(self, other: Self, sums: __m256i) -> __m256i {
        _mm256_dpwssd_epi32(sums, self.0.0, other.0.0)
    }

    fn to_floats(sums: __m256i) -> Avx512 {
        Avx512(PairsAvx2::to_floats(sums))
    }
}}
