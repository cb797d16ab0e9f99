//! Vectors of the CPU: eight f32 values or 32 integers at a time. A kernel is written once, as a [`SimdTask`] for any
//! [`F32x8`], and compiled for each kind of vectors that the target may have. On x86-64, processors differ, and
//! [`with_simd`] finds out at run time whether this one has AVX-512 or AVX2; on 64-bit ARM all have NEON, and in wasm
//! simd128 is a setting of the build. Elsewhere arrays do.

/// Implements a trait by methods that are compiled for certain features of the processor, in which the intrinsics of these
/// features are safe to call. The trait's own methods cannot be compiled so: they only pass their arguments on.
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
macro_rules! with_features {
    ($features:literal: impl $trait:ident for $type:ident {
        $(type $associated:ident = $target:ty;)*
        $(const $constant:ident: $constant_type:ty = $value:expr;)*
        $(fn $method:ident($($argument:ident $(: $argument_type:ty)?),*) $(-> $result:ty)? $body:block)*
    }) => {
        impl $type {
            $(
                #[inline]
                #[target_feature(enable = $features)]
                pub(super) fn $method($($argument $(: $argument_type)?),*) $(-> $result)? $body
            )*
        }

        impl $trait for $type {
            $(type $associated = $target;)*
            $(const $constant: $constant_type = $value;)*
            $(
                #[inline(always)]
                fn $method($($argument $(: $argument_type)?),*) $(-> $result)? {
                    // SAFETY: the processor has the features. Nobody outside of `simd` can name this type, and
                    // `with_simd` hands it to a task only where they have been found or the whole build relies on them.
                    unsafe { <$type>::$method($($argument),*) }
                }
            )*
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon;
#[cfg(any(
    test,
    not(any(
        all(target_arch = "aarch64", target_feature = "neon"),
        all(target_arch = "wasm32", target_feature = "simd128"),
    )),
))]
mod plain;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm128;

use crate::formats::blocks::BLOCK;

/// Values in one [`F32x8`].
pub const LANES: usize = 8;

/// Eight f32 values.
pub trait F32x8: Copy {
    /// Integers in vectors of the same processor.
    type Whole: I16x32;
    /// Pairs of integers in vectors of the same processor.
    type Pairs: I16Pairs<Floats = Self>;

    /// Whether nine or more of these fit into registers.
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
    /// The largest of values that are 0 or more.
    fn largest(self) -> f32;
    /// Rounded to the nearest integers, ties to even; what is beyond 2^22 gives any integer.
    fn to_whole(parts: [Self; BLOCK / LANES]) -> Self::Whole;
    /// Signed bytes as f32 values.
    fn from_i8(bytes: &[u8; LANES]) -> Self;
    /// 4-bit integers less 8: the low nibbles of all bytes, then the high ones.
    fn from_nibbles(bytes: &[u8; 16]) -> [Self; 4];

    /// f16 values, given as bits.
    #[inline(always)]
    fn from_f16(bits: &[u16; LANES]) -> Self {
        Self::load(&bits.map(f32_from_f16))
    }

    /// One f16 value, given as bits.
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
    /// 4-bit integers less 8: the low nibbles of all bytes, then the high ones.
    fn from_nibbles(bytes: &[u8; 16]) -> Self;
    fn zero_sums() -> Self::Sums;
    /// Adds `scale` times the products of all 32 pairs, whose sum must fit 32 bits.
    fn add_products(self, other: Self, scale: f32, sums: Self::Sums) -> Self::Sums;
    fn total(sums: Self::Sums) -> f32;
}

/// Eight pairs of integers of 16 bits.
pub trait I16Pairs: Copy {
    /// Eight sums of products, in as many parts as the processor adds up by themselves.
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

/// Work that is worth compiling for the vectors of the processor.
pub trait SimdTask {
    fn run<V: F32x8>(self);
}

/// Runs `task` with the widest vectors there are.
pub fn with_simd(task: impl SimdTask) {
    cfg_select! {
        target_arch = "x86_64" => { run_on_x86(task); }
        all(target_arch = "aarch64", target_feature = "neon") => { task.run::<neon::Neon>(); }
        all(target_arch = "wasm32", target_feature = "simd128") => { task.run::<wasm128::Wasm128>(); }
        _ => { task.run::<plain::Plain>(); }
    }
}

#[cfg(target_arch = "x86_64")]
fn run_on_x86(task: impl SimdTask) {
    if has_avx512() {
        // SAFETY: the processor has all features that the function is compiled for; they were just looked for.
        unsafe { run_avx512(task) }
    } else if has_avx2() {
        // SAFETY: the processor has all features that the function is compiled for; they were just looked for.
        unsafe { run_avx2(task) }
    } else {
        task.run::<plain::Plain>();
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn run_avx512(task: impl SimdTask) {
    task.run::<avx512::Avx512>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn run_avx2(task: impl SimdTask) {
    task.run::<avx2::Avx2>();
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

/// All values taken together, those of a lane first.
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

/// `e^x` for `x <= 0` within 3e-7 of itself, without branches; 0 below -87, NaN for NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Added to a small value it leaves the nearest integer in the lowest bits.
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

#[cfg(test)]
mod tests {
    use super::plain::{Plain, PlainWhole};
    use super::*;

    struct Check;

    impl SimdTask for Check {
        fn run<V: F32x8>(self) {
            let bytes: [u8; 16] = std::array::from_fn(|i| (i * 23 + 5) as u8);
            let values_of = |v: V| {
                let mut values = [0.0; LANES];
                v.store(&mut values);
                values
            };
            assert_eq!(V::from_nibbles(&bytes).map(values_of), Plain::from_nibbles(&bytes).map(|plain| plain.0));
            let [low, _] = bytes.as_chunks::<LANES>().0 else { unreachable!("sixteen bytes are two chunks") };
            assert_eq!(values_of(V::from_i8(low)), Plain::from_i8(low).0);
            let values: [f32; LANES] = std::array::from_fn(|i| i as f32 - 2.5);
            assert_eq!(values_of(V::load(&values).mul_add(V::splat(2.0), V::load(&values))), values.map(|x| 3.0 * x));
            assert_eq!(V::load(&values).sum() + V::zero().sum(), 8.0);
            assert_eq!(values_of(V::load(&values).mul(V::splat(-2.0))), values.map(|x| -2.0 * x));
            assert_eq!(values_of(V::load(&values).add(V::splat(0.25))), values.map(|x| x + 0.25));
            let sizes = V::splat(1.0).max_size(V::load(&values)).max_size(V::splat(f32::NAN));
            assert_eq!(values_of(sizes), values.map(|x| x.abs().max(1.0)));
            assert_eq!(V::zero().max_size(V::load(&values)).largest(), 4.5);
            rounds_to_even::<V>();
            integers_are_exact::<V::Whole>();
            pairs_are_exact::<V>();
            // All of them, but for Miri, which would take minutes.
            for bits in (0..=u16::MAX).step_by(if cfg!(miri) { 251 } else { 1 }) {
                let exact = half::f16::from_bits(bits).to_f32();
                for ours in [V::f16(bits), Plain::f16(bits), values_of(V::from_f16(&[bits; LANES]))[7]] {
                    assert!(ours.to_bits() == exact.to_bits() || (ours.is_nan() && exact.is_nan()), "{bits:#x}");
                }
            }
        }
    }

    /// Unpacked as the plain form does it, and multiplied without rounding.
    fn integers_are_exact<I: I16x32>() {
        let bytes: [u8; BLOCK] = std::array::from_fn(|i| (i * 23 + 5) as u8);
        let values_of = |whole: I| {
            let mut values = [0; BLOCK];
            whole.store(&mut values);
            values
        };
        let nibbles = bytes.first_chunk().expect("32 bytes begin with 16");
        assert_eq!(values_of(I::from_i8(&bytes)), PlainWhole::from_i8(&bytes).0);
        assert_eq!(values_of(I::from_nibbles(nibbles)), PlainWhole::from_nibbles(nibbles).0);
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

    #[test]
    fn exp_is_within_its_bound() {
        for step in 0..87_000 {
            let x = step as f32 / -1000.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) - exact).abs() <= 3e-7 * exact, "e^{x}");
        }
        assert_eq!(exp(-87.5), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn all_forms_compute_the_same() {
        with_simd(Check);
        #[cfg(target_arch = "x86_64")]
        if has_avx2() {
            // SAFETY: the processor has all features that the function is compiled for. It is called once more because
            // `with_simd` may have taken wider vectors.
            unsafe { run_avx2(Check) }
        }
        Check.run::<Plain>();
    }
}
