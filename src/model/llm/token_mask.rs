//! Which tokens may come next while an answer is text.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// Tokens that may come as long as an answer is text.
#[derive(Debug)]
pub struct TokenMask {
    /// Added to the logits, `[vocabulary]`: 0, or minus infinity for what must not come. None where everything may.
    pub(crate) bias: Option<Tensor<1>>,
    /// Whether a token is text and nothing else, by id: after it the next can be chosen at once.
    is_text: Vec<bool>,
}

impl TokenMask {
    /// `allows` and `is_text` are asked for each of `vocabulary` ids.
    pub fn new(
        vocabulary: usize,
        device: &Device,
        allows: impl Fn(u32) -> bool,
        is_text: impl Fn(u32) -> bool,
    ) -> Self {
        let ids = || 0..vocabulary as u32;
        let bias: Vec<f32> = ids().map(|id| if allows(id) { 0.0 } else { f32::NEG_INFINITY }).collect();
        let is_needed = bias.iter().any(|&bias| bias != 0.0);
        let on_device = || Tensor::from_data(TensorData::new(bias, [vocabulary]), (device, DType::F32));
        Self { bias: is_needed.then(on_device), is_text: ids().map(is_text).collect() }
    }

    /// Whether a token is text and nothing else.
    pub(crate) fn is_text(&self, id: u32) -> bool {
        self.is_text[id as usize]
    }
}
