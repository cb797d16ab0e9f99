//! Arrays in place of vectors, for processors without a file of their own, and what the others are tested against.

use super::{BLOCK, F32x8, I16Pairs, I16x32, LANES};

/// Eight f32 values.
#[derive(Clone, Copy)]
pub struct Plain(pub(super) [f32; LANES]);

/// 32 integers of 16 bits.
#[derive(Clone, Copy)]
pub struct PlainWhole(pub(super) [i16; BLOCK]);

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

/// Eight pairs of integers of 16 bits.
#[derive(Clone, Copy)]
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
        // Not `f32::mul_add`, a slow library call where there is no instruction for it.
        Self(std::array::from_fn(|lane| self.0[lane] * factor.0[lane] + term.0[lane]))
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

/// The largest of values that are 0 or more.
#[inline(always)]
pub(super) fn larger_of(values: [f32; LANES]) -> f32 {
    let mut largest = 0.0;
    for value in values {
        if value > largest {
            largest = value;
        }
    }
    largest
}
