//! Where a language model's weights come from. Both kinds of file give tensors under Hugging Face names.

use std::borrow::Cow;

use burn::tensor::{Device, Tensor, TensorData};

use crate::kernels::quant_matmul::{WeightKind, dequantize};
use crate::{Error, Result};

/// A tensor as it is stored.
#[derive(Debug, Clone)]
pub struct RawTensor<'a> {
    pub kind: WeightKind,
    /// Row-major, outermost first: `[out, in]` for a linear layer.
    pub shape: Vec<usize>,
    /// [`WeightKind::byte_count`] bytes.
    pub bytes: Cow<'a, [u8]>,
}

/// Tensors by their Hugging Face name, such as `model.layers.0.self_attn.q_proj.weight`.
pub trait TensorSource {
    /// [`Error::TensorMissing`] where there is none of that name.
    fn tensor(&self, name: &str) -> Result<RawTensor<'_>>;
}

impl RawTensor<'_> {
    /// All values as f32.
    pub fn to_f32(&self) -> Vec<f32> {
        dequantize(self.kind, &self.bytes)
    }

    /// Moves the values to `device` as f32, if they have the shape `want`.
    pub fn into_tensor<const D: usize>(self, name: &str, want: [usize; D], device: &Device) -> Result<Tensor<D>> {
        self.check(name, &want)?;
        Ok(Tensor::from_data(TensorData::new(self.to_f32(), want), device))
    }

    /// Fails where the shape is not `want` or the bytes do not fill it.
    pub fn check(&self, name: &str, want: &[usize]) -> Result<()> {
        if self.shape != want || self.kind.byte_count(want) != Some(self.bytes.len()) {
            return Err(Error::TensorShape { name: name.into(), want: want.to_vec(), got: self.shape.clone() });
        }
        Ok(())
    }
}
