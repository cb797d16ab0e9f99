//! What goes with a product in the same launch, so that a layer is a handful of launches.

use burn::backend::DispatchTensor;
use burn::tensor::Tensor;
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::gelu::{Gelu, activate_in_place};
use super::matmul::add_to_rows;
use super::{rms_norm, swiglu};

/// `gelu(norm(x) W^T + bias) + residual`, of which each step may be left out; or `silu(gates) * rest`, see
/// [`Epilogue::is_swiglu`].
#[derive(Debug, Clone, Default)]
pub struct Epilogue {
    /// RMSNorm of `x`, before the product.
    pub norm: Option<Norm>,
    /// `[N]`, to every row.
    pub bias: Option<Tensor<1>>,
    /// GELU, after the bias.
    pub gelu: Option<Gelu>,
    /// `[T, N]`, as the layers of a transformer add to what came in.
    pub residual: Option<Tensor<2>>,
    /// The rows of `W` are gates, then as many rows that they let through: the result is half as wide. Nothing but a norm goes
    /// with it.
    pub is_swiglu: bool,
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
    /// The form of GELU, if there is one.
    pub gelu: Option<Gelu>,
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
            !self.is_swiglu || (self.bias.is_none() && self.gelu.is_none() && self.residual.is_none()),
            "nothing but a norm goes with a gate"
        );
        let steps = Steps {
            norm: self.norm.as_ref().map(|norm| norm.eps),
            bias: self.bias.is_some(),
            gelu: self.gelu,
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
        let is_tanh = self.gelu == Some(Gelu::Tanh);
        let steps = [self.bias, self.gelu.is_some(), is_tanh, self.residual, self.norm.is_some()];
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
        if self.bias {
            add_to_rows(&mut y, bias.to_contiguous().storage());
        }
        if let Some(gelu) = self.gelu {
            activate_in_place(&mut y, gelu);
        }
        if self.residual {
            add_to_rows(&mut y, residual.to_contiguous().storage());
        }
        if self.is_swiglu { swiglu::gate_rows(&y, columns / 2) } else { y }
    }

    /// Numbers in a row of the result.
    pub(super) fn width(self, columns: usize) -> usize {
        if self.is_swiglu { columns / 2 } else { columns }
    }
}
