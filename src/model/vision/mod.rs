//! Vision encoder: pixels `[B, 3, S, S]` -> patch features `[B, N, C]`.

mod siglip;
mod vit;

pub use siglip::Siglip;
pub use vit::Vit;

use burn::tensor::Tensor;

use crate::Result;
use crate::kernels::in_pool;
use crate::model::config::VisionConfig;
use crate::nn::tensor_store::TensorStore;

/// One of the encoders that a `config.json` can name.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a model has one")]
pub enum VisionEncoder {
    /// Our ViT.
    Vit(Vit),
    /// A SigLIP vision tower.
    Siglip(Siglip),
}

impl VisionEncoder {
    /// Takes the tensors of the encoder that `config` names.
    ///
    /// # Errors
    /// What [`TensorStore::take`] says.
    pub fn load(store: &mut TensorStore, config: &VisionConfig) -> Result<Self> {
        Ok(match config {
            VisionConfig::Vit(vit) => Self::Vit(Vit::load(store, vit)?),
            VisionConfig::Siglip(siglip) => Self::Siglip(Siglip::load(store, siglip)?),
        })
    }

    /// # Shapes
    /// - `pixels`: `[B, 3, S, S]`, normalised as the config says
    /// - output: `[B, N, C]`, patches row by row
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<3> {
        in_pool(&pixels.device(), || match self {
            Self::Vit(vit) => vit.forward(pixels),
            Self::Siglip(siglip) => siglip.forward(pixels),
        })
    }

    /// As [`VisionEncoder::forward`], with what the convolutional stem saw at strides 2, 4, ... on the way: finer than a
    /// patch, for masks. A SigLIP tower has no such stem.
    ///
    /// # Shapes
    /// - `pixels`: `[B, 3, S, S]`
    /// - output: `[B, N, C]` and `[B, C_i, S / 2^i, S / 2^i]` for i = 1, 2, ...
    pub fn forward_with_stem(&self, pixels: Tensor<4>) -> (Tensor<3>, Vec<Tensor<4>>) {
        in_pool(&pixels.device(), || match self {
            Self::Vit(vit) => vit.forward_with_stem(pixels),
            Self::Siglip(siglip) => (siglip.forward(pixels), Vec::new()),
        })
    }
}

/// `[B, C, h, w]` -> `[B, h * w, C]`, row by row.
fn patches_from_map(map: Tensor<4>) -> Tensor<3> {
    let [b, c, h, w] = map.dims();
    map.reshape([b, c, h * w]).swap_dims(1, 2)
}
