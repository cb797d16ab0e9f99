//! The GELU.

use std::f32::consts::FRAC_2_PI;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

use burn::backend::TensorMetadata;
use burn::tensor::{DType, TensorData};
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::fill_rows;
use super::launch::{GELU, Launch, dispatch_2d};
use super::simd::{F32x8, SimdTask, sigmoid, with_simd};

/// Which GELU a checkpoint was trained with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gelu {
    /// `x (1 + erf(x / sqrt 2)) / 2`
    Exact,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`
    Tanh,
}

/// What the GELU computes, in the plainest form.
pub fn gelu_reference(x: &[f32], gelu: Gelu) -> Vec<f32> {
    let share = |x: f64| match gelu {
        Gelu::Exact => erf_reference(x * FRAC_1_SQRT_2),
        Gelu::Tanh => ((2.0 / PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh(),
    };
    x.iter().map(|&x| (f64::from(x) * 0.5 * (1.0 + share(f64::from(x)))) as f32).collect()
}

/// By its series, which needs some 150 terms at 6; beyond, it is 1 in an f64.
fn erf_reference(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    // 2 / sqrt(pi) exp(-x^2) sum of 2^n x^(2n + 1) / (2n + 1)!!: all terms of one sign.
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

/// Any shape.
pub(super) fn launch(x: CubeTensor, gelu: Gelu) -> CubeTensor {
    let shape = x.meta.shape().clone();
    let count = shape.num_elements();
    let params = [count as u32, u32::from(gelu == Gelu::Tanh)];
    let (launch, y) = Launch::new(GELU, x).params(&params).output(shape, DType::F32);
    launch.run(dispatch_2d(count.div_ceil(GELU.workgroup as usize)));
    y
}

/// Multiplications that a number takes.
pub(super) const GELU_WORK: usize = 16;

/// [`launch`] on the CPU, in vectors: a scalar error function was a tenth of the encoder.
pub(super) fn activate_all(x: &FlexTensor, gelu: Gelu) -> FlexTensor {
    let (shape, x) = (x.shape(), x.to_contiguous());
    let mut y = x.storage::<f32>().to_vec();
    fill_rows(&mut y, 1, GELU_WORK, |_, y| with_simd(Activate { gelu, y }));
    FlexTensor::from_data(TensorData::new(y, shape))
}

struct Activate<'a> {
    gelu: Gelu,
    y: &'a mut [f32],
}

impl SimdTask for Activate<'_> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        activate(self.y, self.gelu);
    }
}

/// In place. Compiled for the vectors of the [`SimdTask`] that it is part of.
#[inline(always)]
pub(super) fn activate(y: &mut [f32], gelu: Gelu) {
    match gelu {
        Gelu::Exact => {
            for y in y {
                *y *= 0.5 * (1.0 + erf(*y * FRAC_1_SQRT_2 as f32));
            }
        }
        Gelu::Tanh => {
            for y in y {
                let x = *y;
                *y = x * sigmoid(2.0 * FRAC_2_PI.sqrt() * (x + 0.044_715 * x * x * x));
            }
        }
    }
}

/// The error function within 5e-7, without branches: a quotient of two polynomials, as Eigen and XLA have it.
#[inline(always)]
fn erf(x: f32) -> f32 {
    const ABOVE: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const BELOW: [f32; 5] = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329_2e-3, -1.426_473_9e-2];
    let x = x.clamp(-4.0, 4.0); // beyond, it is 1 in an f32
    let square = x * x;
    let polynomial = |factors: &[f32]| factors.iter().fold(0.0, |sum, factor| sum * square + factor);
    x * polynomial(&ABOVE) / polynomial(&BELOW)
}
