//! What goes with a product in the same launch, so that a layer is a handful of launches.

use burn::backend::DispatchTensor;
use burn::tensor::Tensor;
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::gelu::{GELU_WORK, Gelu, activate};
use super::simd::{F32x8, SimdTask, with_simd};
use super::{fill_rows, rms_norm, swiglu};

/// `activation(norm(x) W^T + bias) + residual`, of which each step may be left out; or `silu(gates) * rest`, see
/// [`Epilogue::is_swiglu`].
#[derive(Debug, Clone, Default)]
pub struct Epilogue {
    /// RMSNorm of `x`, before the product.
    pub norm: Option<Norm>,
    /// `[N]`, to every row.
    pub bias: Option<Tensor<1>>,
    /// After the bias.
    pub activation: Option<Activation>,
    /// `[T, N]`, as the layers of a transformer add to what came in.
    pub residual: Option<Tensor<2>>,
    /// The rows of `W` are gates, then as many rows that they let through: the result is half as wide. Nothing but a norm goes
    /// with it.
    pub is_swiglu: bool,
}

/// What every number of a result goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Exact or by tanh.
    Gelu(Gelu),
    /// Cut off below 0 and above 6.
    Relu6,
}

/// RMSNorm of what is multiplied.
#[derive(Debug, Clone)]
pub struct Norm {
    /// `[K]`
    pub weight: Tensor<1>,
    /// Added to the mean square, so that its root is never zero.
    pub eps: f32,
}

/// Which steps of a [`Epilogue`] are there.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    /// Its `eps`.
    pub norm: Option<f32>,
    /// There is a bias.
    pub bias: bool,
    /// What follows it.
    pub activation: Option<Activation>,
    /// There is a residual.
    pub residual: bool,
    /// See [`Epilogue::is_swiglu`].
    pub is_swiglu: bool,
}

impl Epilogue {
    /// Only a bias.
    pub fn bias(bias: Tensor<1>) -> Self {
        Self { bias: Some(bias), ..Self::default() }
    }

    /// The tensors of norm, bias and residual, and which of them are there. An operation cannot do without a tensor that it
    /// names, nor a shader without a buffer, so what is missing is `x`.
    pub(super) fn into_parts(self, x: &DispatchTensor) -> ([DispatchTensor; 3], Steps) {
        assert!(
            !self.is_swiglu || (self.bias.is_none() && self.activation.is_none() && self.residual.is_none()),
            "nothing but a norm goes with a gate"
        );
        let steps = Steps {
            norm: self.norm.as_ref().map(|norm| norm.eps),
            bias: self.bias.is_some(),
            activation: self.activation,
            residual: self.residual.is_some(),
            is_swiglu: self.is_swiglu,
        };
        let norm = self.norm.map_or_else(|| x.clone(), |norm| norm.weight.into_dispatch());
        let bias = self.bias.map_or_else(|| x.clone(), Tensor::into_dispatch);
        let residual = self.residual.map_or_else(|| x.clone(), Tensor::into_dispatch);
        ([norm, bias, residual], steps)
    }

    /// Checks the shapes against a product `[T, K] x [N, K]^T`.
    pub(super) fn check(&self, [tokens, inner]: [usize; 2], columns: usize) {
        assert!(
            self.norm.as_ref().is_none_or(|norm| norm.weight.dims() == [inner]),
            "a norm has a number for every column"
        );
        assert!(self.bias.as_ref().is_none_or(|bias| bias.dims() == [columns]), "a bias has a number for every row");
        assert!(
            self.residual.as_ref().is_none_or(|residual| residual.dims() == [tokens, columns]),
            "a residual is as the product"
        );
        assert!(!self.is_swiglu || columns.is_multiple_of(2), "gates, and as many rows that they let through");
    }
}

impl Steps {
    /// As `shaders/shared/epilogue.wgsl` reads them.
    pub(super) fn bits(self) -> u32 {
        let is_gelu = matches!(self.activation, Some(Activation::Gelu(_)));
        let is_tanh = self.activation == Some(Activation::Gelu(Gelu::Tanh));
        let is_relu6 = self.activation == Some(Activation::Relu6);
        let steps = [self.bias, is_gelu, is_tanh, self.residual, self.norm.is_some(), is_relu6];
        steps.into_iter().enumerate().map(|(bit, is_there)| u32::from(is_there) << bit).sum()
    }

    /// What comes before a product on a GPU, by a launch of its own.
    pub(super) fn begin_launch(self, x: CubeTensor, norm: CubeTensor) -> CubeTensor {
        if let Some(eps) = self.norm { rms_norm::launch(x, norm, eps) } else { x }
    }

    /// What comes after a product on a GPU and does not go with it, by a launch of its own.
    pub(super) fn finish_launch(self, y: CubeTensor) -> CubeTensor {
        if self.is_swiglu { swiglu::launch(y) } else { y }
    }

    /// What comes before a product on the CPU.
    pub(super) fn begin(self, x: FlexTensor, norm: &FlexTensor) -> FlexTensor {
        if let Some(eps) = self.norm { rms_norm::normalize(&x, norm, eps) } else { x }
    }

    /// What follows a product on the CPU, whose rows have `columns` numbers.
    pub(super) fn finish(self, mut y: Vec<f32>, columns: usize, bias: &FlexTensor, residual: &FlexTensor) -> Vec<f32> {
        let bias = self.bias.then(|| bias.to_contiguous());
        let residual = self.residual.then(|| residual.to_contiguous());
        let [bias, residual] = [&bias, &residual].map(|tensor| tensor.as_ref().map(FlexTensor::storage::<f32>));
        if bias.is_some() || self.activation.is_some() || residual.is_some() {
            let work = if self.activation.is_some() { GELU_WORK } else { 1 };
            fill_rows(&mut y, columns.max(1), work * columns, |first_row, y| {
                with_simd(Finish { activation: self.activation, bias, residual, columns, first_row, y });
            });
        }
        if self.is_swiglu { swiglu::gate_rows(&y, columns / 2) } else { y }
    }

    /// Numbers in a row of the result.
    pub(super) fn width(self, columns: usize) -> usize {
        if self.is_swiglu { columns / 2 } else { columns }
    }
}

/// The steps after some rows of a product, row by row, while a row is in the nearest cache.
struct Finish<'a> {
    activation: Option<Activation>,
    bias: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
    columns: usize,
    first_row: usize,
    y: &'a mut [f32],
}

impl SimdTask for Finish<'_> {
    #[inline(always)]
    fn run<V: F32x8>(self) {
        for (row, y) in (self.first_row..).zip(self.y.chunks_exact_mut(self.columns)) {
            if let Some(bias) = self.bias {
                add(y, bias);
            }
            match self.activation {
                Some(Activation::Gelu(gelu)) => activate(y, gelu),
                Some(Activation::Relu6) => y.iter_mut().for_each(|value| *value = value.clamp(0.0, 6.0)),
                None => {}
            }
            if let Some(residual) = self.residual {
                add(y, &residual[row * self.columns..][..self.columns]);
            }
        }
    }
}

#[inline(always)]
fn add(y: &mut [f32], numbers: &[f32]) {
    for (value, number) in y.iter_mut().zip(numbers) {
        *value += number;
    }
}
