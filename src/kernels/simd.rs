//! Eight f32 numbers or 32 whole ones at a time: AVX-512 or AVX2 on x86-64 (found out at run time), simd128 in wasm, plain
//! arrays elsewhere.

use crate::formats::blocks::BLOCK;

/// Numbers in one [`F32x8`].
pub const LANES: usize = 8;

/// Eight f32 numbers.
pub trait F32x8: Copy {
    /// The integers of the same processor.
    type Whole: I16x32;
    type Pairs: I16Pairs<Floats = Self>;

    /// Whether nine or more of these are in registers.
    const MANY_REGISTERS: bool;

    fn zero() -> Self;
    fn splat(value: f32) -> Self;
    fn load(values: &[f32; LANES]) -> Self;
    fn store(self, values: &mut [f32; LANES]);
    fn mul(self, factor: Self) -> Self;
    /// `self * factor + term`, in one rounding where there is an instruction for it.
    fn mul_add(self, factor: Self, term: Self) -> Self;
    fn add(self, other: Self) -> Self;
    /// The larger of `self` and the size of `other`; `self` where that is NaN.
    fn max_size(self, other: Self) -> Self;
    fn sum(self) -> f32;
    /// The largest of numbers from 0 on.
    fn largest(self) -> f32;
    /// Rounded to the nearest integers, ties to even; what is beyond 2^22 gives any number.
    fn to_whole(parts: [Self; BLOCK / LANES]) -> Self::Whole;
    /// Signed bytes as numbers.
    fn from_i8(bytes: &[u8; LANES]) -> Self;
    /// 4-bit numbers less 8: the low nibbles of all bytes, then the high ones.
    fn from_nibbles(bytes: &[u8; 16]) -> [Self; 4];

    /// f16 numbers, given as bits.
    #[inline(always)]
    fn from_f16(bits: &[u16; LANES]) -> Self {
        Self::load(&bits.map(f32_from_f16))
    }

    /// One f16 number, given as bits.
    #[inline(always)]
    fn f16(bits: u16) -> f32 {
        f32_from_f16(bits)
    }
}

/// 32 integers of 16 bits, of which two make a product without rounding.
pub trait I16x32: Copy {
    /// Sums of products, in as many parts as are at hand.
    type Sums: Copy;

    fn load(values: &[i16; BLOCK]) -> Self;
    fn store(self, values: &mut [i16; BLOCK]);
    /// Signed bytes.
    fn from_i8(bytes: &[u8; BLOCK]) -> Self;
    /// 4-bit numbers less 8: the low nibbles of all bytes, then the high ones.
    fn from_nibbles(bytes: &[u8; 16]) -> Self;
    fn zero_sums() -> Self::Sums;
    /// Adds `scale` times the products of all 32 pairs, whose sum must fit 32 bits.
    fn add_products(self, other: Self, scale: f32, sums: Self::Sums) -> Self::Sums;
    fn total(sums: Self::Sums) -> f32;
}

/// Eight pairs of integers of 16 bits.
pub trait I16Pairs: Copy {
    /// Eight integers of 32 bits.
    type Sums: Copy;
    type Floats;

    fn load(values: &[i16; 2 * LANES]) -> Self;
    /// The same pair eight times.
    fn splat(pair: [i16; 2]) -> Self;
    fn zero_sums() -> Self::Sums;
    /// Adds the dot product of each two pairs, without rounding.
    fn add_dots(self, other: Self, sums: Self::Sums) -> Self::Sums;
    fn to_floats(sums: Self::Sums) -> Self::Floats;
}

/// Work that is worth compiling for the SIMD of the processor.
pub trait SimdTask {
    fn run<V: F32x8>(self);
}

/// Runs `task` with the widest numbers there are.
#[cfg(target_arch = "x86_64")]
pub fn with_simd(task: impl SimdTask) {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn run_avx2(task: impl SimdTask) {
        task.run::<avx2::Avx2>();
    }
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
    fn run_avx512(task: impl SimdTask) {
        task.run::<avx512::Avx512>();
    }
    if has_avx512() {
        // SAFETY: the processor has them all.
        unsafe { run_avx512(task) }
    } else if has_avx2() {
        // SAFETY: the processor has all three.
        unsafe { run_avx2(task) }
    } else {
        task.run::<Plain>();
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub fn with_simd(task: impl SimdTask) {
    task.run::<simd128::Simd128>();
}

#[cfg(not(any(target_arch = "x86_64", all(target_arch = "wasm32", target_feature = "simd128"))))]
pub fn with_simd(task: impl SimdTask) {
    task.run::<Plain>();
}

/// The largest of numbers from 0 on.
#[allow(dead_code, reason = "wasm with simd128 never needs it")]
#[inline(always)]
fn larger_of(values: [f32; LANES]) -> f32 {
    let mut largest = 0.0;
    for value in values {
        if value > largest {
            largest = value;
        }
    }
    largest
}

/// All numbers taken together, those of a lane first.
#[inline(always)]
pub fn in_lanes(values: &[f32], start: f32, take: impl Fn(f32, f32) -> f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let (parts, rest) = values.as_chunks::<LANES>();
    for part in parts {
        for lane in 0..LANES {
            lanes[lane] = take(lanes[lane], part[lane]);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = take(*lane, value);
    }
    lanes.into_iter().fold(start, join)
}

/// `e^x` for `x <= 0` within 2e-7 of itself, without branches; 0 below -87, NaN for NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Added to a small number it leaves the nearest whole one in the lowest bits.
    const ROUNDING: f32 = 1.5 * (1 << 23) as f32;
    const LN_2_HIGH: f32 = 0.693_359_4; // few bits, so that its products are exact
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const FACTORS: [f32; 7] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let inside = if x < -87.0 { -87.0 } else { x };
    let shifted = inside * std::f32::consts::LOG2_E + ROUNDING;
    let whole = shifted - ROUNDING;
    let rest = inside - whole * LN_2_HIGH - whole * LN_2_LOW;
    let power = FACTORS.iter().fold(0.0, |sum, factor| sum * rest + factor);
    let two_to_whole = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    if x < -87.0 { 0.0 } else { power * two_to_whole }
}

/// `1 / (1 + e^-x)`, without branches.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let power = exp(-x.abs()); // of the two the one that never overflows
    (if x >= 0.0 { 1.0 } else { power }) / (1.0 + power)
}

/// An f16 as f32, exactly.
#[inline(always)]
fn f32_from_f16(bits: u16) -> f32 {
    const SMALLEST_NORMAL: u32 = 0x0400;
    const INFINITY: u32 = 0x7c00;
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff);
    let value = match magnitude {
        SMALLEST_NORMAL..INFINITY => (magnitude << 13) + (112 << 23),
        0..SMALLEST_NORMAL => (magnitude as f32 * f32::from_bits(103 << 23)).to_bits(), // x 2^-24
        _ => (magnitude << 13) | 0x7f80_0000,
    };
    f32::from_bits(sign | value)
}

/// Arrays, for processors without a form of their own.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "wasm with simd128 never needs it")]
pub struct Plain([f32; LANES]);

#[derive(Clone, Copy)]
#[allow(dead_code, reason = "wasm with simd128 never needs it")]
pub struct PlainWhole([i16; BLOCK]);

impl I16x32 for PlainWhole {
    type Sums = f32;

    #[inline(always)]
    fn load(values: &[i16; BLOCK]) -> Self {
        Self(*values)
    }

    #[inline(always)]
    fn store(self, values: &mut [i16; BLOCK]) {
        *values = self.0;
    }

    #[inline(always)]
    fn from_i8(bytes: &[u8; BLOCK]) -> Self {
        Self(bytes.map(|byte| i16::from(byte as i8)))
    }

    #[inline(always)]
    fn from_nibbles(bytes: &[u8; 16]) -> Self {
        Self(std::array::from_fn(|i| i16::from((bytes[i % 16] >> (i / 16 * 4)) & 15) - 8))
    }

    #[inline(always)]
    fn zero_sums() -> f32 {
        0.0
    }

    #[inline(always)]
    fn add_products(self, other: Self, scale: f32, sums: f32) -> f32 {
        let products = self.0.iter().zip(other.0).map(|(&a, b)| i32::from(a) * i32::from(b));
        products.sum::<i32>() as f32 * scale + sums
    }

    #[inline(always)]
    fn total(sums: f32) -> f32 {
        sums
    }
}

#[derive(Clone, Copy)]
#[allow(dead_code, reason = "wasm with simd128 never needs it")]
pub struct PlainPairs([i16; 2 * LANES]);

impl I16Pairs for PlainPairs {
    type Sums = [i32; LANES];
    type Floats = Plain;

    #[inline(always)]
    fn load(values: &[i16; 2 * LANES]) -> Self {
        Self(*values)
    }

    #[inline(always)]
    fn splat(pair: [i16; 2]) -> Self {
        Self(std::array::from_fn(|i| pair[i % 2]))
    }

    #[inline(always)]
    fn zero_sums() -> Self::Sums {
        [0; LANES]
    }

    #[inline(always)]
    fn add_dots(self, other: Self, sums: Self::Sums) -> Self::Sums {
        let product = |i: usize| i32::from(self.0[i]) * i32::from(other.0[i]);
        std::array::from_fn(|lane| sums[lane] + product(2 * lane) + product(2 * lane + 1))
    }

    #[inline(always)]
    fn to_floats(sums: Self::Sums) -> Plain {
        Plain(sums.map(|sum| sum as f32))
    }
}

impl F32x8 for Plain {
    type Whole = PlainWhole;
    type Pairs = PlainPairs;

    const MANY_REGISTERS: bool = false;

    #[inline(always)]
    fn zero() -> Self {
        Self([0.0; LANES])
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self {
        Self(*values)
    }

    #[inline(always)]
    fn store(self, values: &mut [f32; LANES]) {
        *values = self.0;
    }

    #[inline(always)]
    fn mul(self, factor: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] * factor.0[lane]))
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        // Where it is not an instruction, `f32::mul_add` is a slow library call.
        let epilogue = cfg!(target_arch = "aarch64");
        Self(std::array::from_fn(|lane| {
            let (a, b, c) = (self.0[lane], factor.0[lane], term.0[lane]);
            if epilogue { a.mul_add(b, c) } else { a * b + c }
        }))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }

    #[inline(always)]
    fn max_size(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane].max(other.0[lane].abs())))
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        self.0.iter().sum()
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        larger_of(self.0)
    }

    #[inline(always)]
    fn to_whole(parts: [Self; BLOCK / LANES]) -> PlainWhole {
        PlainWhole(std::array::from_fn(|i| parts[i / LANES].0[i % LANES].round_ties_even() as i16))
    }

    #[inline(always)]
    fn from_i8(bytes: &[u8; LANES]) -> Self {
        Self(bytes.map(|byte| f32::from(byte as i8)))
    }

    #[inline(always)]
    fn from_nibbles(bytes: &[u8; 16]) -> [Self; 4] {
        std::array::from_fn(|part| {
            let (first, shift) = (part % 2 * LANES, part / 2 * 4);
            Self(std::array::from_fn(|lane| f32::from((bytes[first + lane] >> shift) & 15) - 8.0))
        })
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m128i, __m256, __m256i, _mm_and_si128, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm_cvtss_f32, _mm_loadl_epi64,
        _mm_loadu_si128, _mm_set1_epi8, _mm_srli_epi16, _mm_sub_epi8, _mm_unpackhi_epi64, _mm256_add_epi32,
        _mm256_add_ps, _mm256_andnot_ps, _mm256_cvtepi8_epi16, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps,
        _mm256_cvtph_ps, _mm256_cvtps_epi32, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16,
        _mm256_max_ps, _mm256_mul_ps, _mm256_packs_epi32, _mm256_permute4x64_epi64, _mm256_set1_epi32, _mm256_set1_ps,
        _mm256_setzero_ps, _mm256_setzero_si256, _mm256_storeu_ps, _mm256_storeu_si256,
    };

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
            super::larger_of(values)
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
}

/// Integers in vectors twice as wide as those of [`avx2`], multiplied and added by one instruction. Floats stay as they
/// are: what is done with them waits for memory.
#[cfg(target_arch = "x86_64")]
mod avx512 {
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
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128 {
    use std::arch::wasm32::{
        f32x4_abs, f32x4_add, f32x4_convert_i32x4, f32x4_extract_lane, f32x4_mul, f32x4_pmax, f32x4_splat, i8x16_splat,
        i8x16_sub, i16x8_extend_high_i8x16, i16x8_extend_low_i8x16, i16x8_narrow_i32x4, i32x4_add, i32x4_dot_i16x8,
        i32x4_extend_high_i16x8, i32x4_extend_low_i16x8, i32x4_shuffle, i32x4_splat, i32x4_sub, u8x16_shr, u8x16_splat,
        u32x4_extend_high_u16x8, u32x4_extend_low_u16x8, u32x4_ge, u32x4_shl, u32x4_splat, v128, v128_and,
        v128_bitselect, v128_load, v128_load64_zero, v128_or, v128_store,
    };

    use super::{BLOCK, F32x8, I16Pairs, I16x32, LANES};

    #[derive(Clone, Copy)]
    pub struct Simd128(v128, v128);

    #[derive(Clone, Copy)]
    pub struct Whole128([v128; 4]);

    impl I16x32 for Whole128 {
        type Sums = v128;

        #[inline(always)]
        fn load(values: &[i16; BLOCK]) -> Self {
            let parts = values.as_chunks::<8>().0;
            // SAFETY: eight numbers are read from eight, at any alignment.
            Self(std::array::from_fn(|part| unsafe { v128_load(parts[part].as_ptr().cast()) }))
        }

        #[inline(always)]
        fn store(self, values: &mut [i16; BLOCK]) {
            for (part, values) in self.0.into_iter().zip(values.as_chunks_mut::<8>().0) {
                // SAFETY: eight numbers are written to eight, at any alignment.
                unsafe { v128_store(values.as_mut_ptr().cast(), part) };
            }
        }

        #[inline(always)]
        fn from_i8(bytes: &[u8; BLOCK]) -> Self {
            let halves = bytes.as_chunks::<16>().0;
            // SAFETY: sixteen bytes are read from sixteen, at any alignment, twice.
            let [low, high] = [0, 1].map(|half| unsafe { v128_load(halves[half].as_ptr().cast()) });
            Self::widen(low, high)
        }

        #[inline(always)]
        fn from_nibbles(bytes: &[u8; 16]) -> Self {
            // SAFETY: sixteen bytes are read from sixteen, at any alignment.
            let bytes = unsafe { v128_load(bytes.as_ptr().cast()) };
            let low = i8x16_sub(v128_and(bytes, u8x16_splat(15)), i8x16_splat(8));
            Self::widen(low, i8x16_sub(u8x16_shr(bytes, 4), i8x16_splat(8)))
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

    #[derive(Clone, Copy)]
    pub struct Pairs128(v128, v128);

    impl I16Pairs for Pairs128 {
        type Sums = [v128; 2];
        type Floats = Simd128;

        #[inline(always)]
        fn load(values: &[i16; 2 * LANES]) -> Self {
            let (low, high) = values.split_at(LANES);
            // SAFETY: eight numbers are read from eight, at any alignment, twice.
            unsafe { Self(v128_load(low.as_ptr().cast()), v128_load(high.as_ptr().cast())) }
        }

        #[inline(always)]
        fn splat([low, high]: [i16; 2]) -> Self {
            let pair = i32x4_splat(i32::from(high) << 16 | i32::from(low as u16));
            Self(pair, pair)
        }

        #[inline(always)]
        fn zero_sums() -> [v128; 2] {
            [i32x4_splat(0); 2]
        }

        #[inline(always)]
        fn add_dots(self, other: Self, [low, high]: [v128; 2]) -> [v128; 2] {
            [i32x4_add(i32x4_dot_i16x8(self.0, other.0), low), i32x4_add(i32x4_dot_i16x8(self.1, other.1), high)]
        }

        #[inline(always)]
        fn to_floats([low, high]: [v128; 2]) -> Simd128 {
            Simd128(f32x4_convert_i32x4(low), f32x4_convert_i32x4(high))
        }
    }

    impl F32x8 for Simd128 {
        type Whole = Whole128;
        type Pairs = Pairs128;

        const MANY_REGISTERS: bool = false;

        #[inline(always)]
        fn zero() -> Self {
            Self::splat(0.0)
        }

        #[inline(always)]
        fn splat(value: f32) -> Self {
            Self(f32x4_splat(value), f32x4_splat(value))
        }

        #[inline(always)]
        fn load(values: &[f32; LANES]) -> Self {
            let [low, high] = [&values[..4], &values[4..]].map(|half| half.as_ptr().cast());
            // SAFETY: four numbers are read from four, at any alignment, twice.
            unsafe { Self(v128_load(low), v128_load(high)) }
        }

        #[inline(always)]
        fn store(self, values: &mut [f32; LANES]) {
            let (low, high) = values.split_at_mut(4);
            // SAFETY: four numbers are written to four, at any alignment, twice.
            unsafe {
                v128_store(low.as_mut_ptr().cast(), self.0);
                v128_store(high.as_mut_ptr().cast(), self.1);
            }
        }

        #[inline(always)]
        fn mul(self, factor: Self) -> Self {
            Self(f32x4_mul(self.0, factor.0), f32x4_mul(self.1, factor.1))
        }

        #[inline(always)]
        fn mul_add(self, factor: Self, term: Self) -> Self {
            Self(f32x4_add(f32x4_mul(self.0, factor.0), term.0), f32x4_add(f32x4_mul(self.1, factor.1), term.1))
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            Self(f32x4_add(self.0, other.0), f32x4_add(self.1, other.1))
        }

        #[inline(always)]
        fn max_size(self, other: Self) -> Self {
            Self(f32x4_pmax(self.0, f32x4_abs(other.0)), f32x4_pmax(self.1, f32x4_abs(other.1)))
        }

        #[inline(always)]
        fn sum(self) -> f32 {
            sum(f32x4_add(self.0, self.1))
        }

        #[inline(always)]
        fn largest(self) -> f32 {
            let four = f32x4_pmax(self.0, self.1);
            let two = f32x4_pmax(four, i32x4_shuffle::<2, 3, 0, 1>(four, four));
            f32x4_extract_lane::<0>(f32x4_pmax(two, i32x4_shuffle::<1, 0, 3, 2>(two, two)))
        }

        #[inline(always)]
        fn to_whole(parts: [Self; BLOCK / LANES]) -> Whole128 {
            // Added to a number it leaves the nearest whole one in the lowest bits. The instruction that converts has to
            // care for what is not finite, and is several on every processor.
            const ROUNDING: f32 = 1.5 * (1 << 23) as f32;
            let whole = |four| {
                let bits = f32x4_add(four, f32x4_splat(ROUNDING));
                i32x4_sub(bits, i32x4_splat(ROUNDING.to_bits() as i32))
            };
            let [a, b, c, d] = parts;
            let narrow = |Self(low, high)| i16x8_narrow_i32x4(whole(low), whole(high));
            Whole128([narrow(a), narrow(b), narrow(c), narrow(d)])
        }

        #[inline(always)]
        fn from_i8(bytes: &[u8; LANES]) -> Self {
            // SAFETY: eight bytes are read from eight, at any alignment.
            widen(i16x8_extend_low_i8x16(unsafe { v128_load64_zero(bytes.as_ptr().cast()) }))
        }

        #[inline(always)]
        fn from_f16(bits: &[u16; LANES]) -> Self {
            // SAFETY: sixteen bytes are read from sixteen, at any alignment.
            let bits = unsafe { v128_load(bits.as_ptr().cast()) };
            Self(f32_from_f16(u32x4_extend_low_u16x8(bits)), f32_from_f16(u32x4_extend_high_u16x8(bits)))
        }

        #[inline(always)]
        fn from_nibbles(bytes: &[u8; 16]) -> [Self; 4] {
            // SAFETY: sixteen bytes are read from sixteen, at any alignment.
            let bytes = unsafe { v128_load(bytes.as_ptr().cast()) };
            let low = i8x16_sub(v128_and(bytes, u8x16_splat(15)), i8x16_splat(8));
            let high = i8x16_sub(u8x16_shr(bytes, 4), i8x16_splat(8));
            [
                widen(i16x8_extend_low_i8x16(low)),
                widen(i16x8_extend_high_i8x16(low)),
                widen(i16x8_extend_low_i8x16(high)),
                widen(i16x8_extend_high_i8x16(high)),
            ]
        }
    }

    /// Four f16 numbers, given as bits.
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

    /// Eight 16-bit numbers.
    #[inline(always)]
    fn widen(numbers: v128) -> Simd128 {
        Simd128(
            f32x4_convert_i32x4(i32x4_extend_low_i16x8(numbers)),
            f32x4_convert_i32x4(i32x4_extend_high_i16x8(numbers)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Check;

    impl SimdTask for Check {
        fn run<V: F32x8>(self) {
            let bytes: [u8; 16] = std::array::from_fn(|i| (i * 23 + 5) as u8);
            let numbers = |v: V| {
                let mut values = [0.0; LANES];
                v.store(&mut values);
                values
            };
            assert_eq!(V::from_nibbles(&bytes).map(numbers), Plain::from_nibbles(&bytes).map(|plain| plain.0));
            let [low, _] = bytes.as_chunks::<LANES>().0 else { unreachable!("sixteen bytes are two chunks") };
            assert_eq!(numbers(V::from_i8(low)), Plain::from_i8(low).0);
            let values: [f32; LANES] = std::array::from_fn(|i| i as f32 - 2.5);
            assert_eq!(numbers(V::load(&values).mul_add(V::splat(2.0), V::load(&values))), values.map(|x| 3.0 * x));
            assert_eq!(V::load(&values).sum() + V::zero().sum(), 8.0);
            assert_eq!(numbers(V::load(&values).mul(V::splat(-2.0))), values.map(|x| -2.0 * x));
            assert_eq!(numbers(V::load(&values).add(V::splat(0.25))), values.map(|x| x + 0.25));
            let sizes = V::splat(1.0).max_size(V::load(&values)).max_size(V::splat(f32::NAN));
            assert_eq!(numbers(sizes), values.map(|x| x.abs().max(1.0)));
            rounds_to_even::<V>();
            whole_numbers_are_exact::<V::Whole>();
            pairs_are_exact::<V>();
            // All of them, but for Miri, which would take minutes.
            for bits in (0..=u16::MAX).step_by(if cfg!(miri) { 251 } else { 1 }) {
                let exact = half::f16::from_bits(bits).to_f32();
                for ours in [V::f16(bits), Plain::f16(bits), numbers(V::from_f16(&[bits; LANES]))[7]] {
                    assert!(ours.to_bits() == exact.to_bits() || (ours.is_nan() && exact.is_nan()), "{bits:#x}");
                }
            }
        }
    }

    /// Unpacked as the plain form does it, and multiplied without rounding.
    fn whole_numbers_are_exact<I: I16x32>() {
        let bytes: [u8; BLOCK] = std::array::from_fn(|i| (i * 23 + 5) as u8);
        let numbers = |whole: I| {
            let mut values = [0; BLOCK];
            whole.store(&mut values);
            values
        };
        let nibbles = bytes.first_chunk().expect("32 bytes begin with 16");
        assert_eq!(numbers(I::from_i8(&bytes)), PlainWhole::from_i8(&bytes).0);
        assert_eq!(numbers(I::from_nibbles(nibbles)), PlainWhole::from_nibbles(nibbles).0);
        let largest = [i16::MAX; BLOCK];
        let sums = I::from_i8(&[-128_i8 as u8; BLOCK]).add_products(I::load(&largest), 0.5, I::zero_sums());
        assert_eq!(I::total(sums), -0.5 * 32.0 * 128.0 * 32767.0);
        let values: [i16; BLOCK] = std::array::from_fn(|i| i as i16 * 1000 - 9000);
        let sums = I::from_i8(&bytes).add_products(I::load(&values), 1.0, I::zero_sums());
        let expected = PlainWhole::from_i8(&bytes).add_products(PlainWhole(values), 1.0, 0.0);
        assert_eq!(I::total(I::load(&values).add_products(I::from_i8(&bytes), 1.0, sums)), 2.0 * expected);
    }

    fn rounds_to_even<V: F32x8>() {
        let halves: [f32; BLOCK] = std::array::from_fn(|i| (i as f32 - 16.0) * 1000.5);
        let mut parts = [V::zero(); BLOCK / LANES];
        for (part, halves) in parts.iter_mut().zip(halves.as_chunks().0) {
            *part = V::load(halves);
        }
        let mut whole = [0; BLOCK];
        V::to_whole(parts).store(&mut whole);
        assert_eq!(whole, halves.map(|half| half.round_ties_even() as i16));
    }

    fn pairs_are_exact<V: F32x8>() {
        let values: [i16; 2 * LANES] = std::array::from_fn(|i| (i as i16 - 7) * 4001);
        let largest = V::Pairs::load(&[i16::MAX; 2 * LANES]);
        let mut sums = V::Pairs::zero_sums();
        for pair in [[-128, 127], [3, -5]] {
            sums = V::Pairs::load(&values).add_dots(V::Pairs::splat(pair), sums);
        }
        sums = largest.add_dots(V::Pairs::splat([-128, -128]), sums);
        let mut ours = [0.0; LANES];
        V::Pairs::to_floats(sums).store(&mut ours);
        let value = |i: usize| i32::from(values[i]);
        let expected = |lane| value(2 * lane) * (3 - 128) + value(2 * lane + 1) * (127 - 5) - 256 * 32767;
        assert_eq!(ours, std::array::from_fn(|lane| expected(lane) as f32));
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn check_avx2() {
        Check.run::<avx2::Avx2>();
    }

    #[test]
    fn all_forms_compute_the_same() {
        with_simd(Check);
        #[cfg(target_arch = "x86_64")]
        if has_avx2() {
            // SAFETY: the processor has all three; `with_simd` may have taken a wider form.
            unsafe { check_avx2() }
        }
        Check.run::<Plain>();
    }
}
