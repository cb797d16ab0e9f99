//! Vision encoder: pixels `[B, 3, S, S]` -> patch features `[B, N, C]`.

mod efficientnet;
mod neck;
mod siglip;
mod vit;

pub use efficientnet::{EfficientNet, Levels};
pub use neck::{Neck, coarse_positions};
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
    /// EfficientNet-Lite, and what makes features of its maps.
    EfficientNet(EfficientNet, Neck),
}

/// All that an encoder sees of an image, for those who need more than features.
#[derive(Debug, Clone)]
pub struct VisionOutput {
    /// `[B, N, C]`, patches row by row
    pub features: Tensor<3>,
    /// What a ViT's convolutional stem saw at strides 2, 4, ...: finer than a patch. `[B, C_i, S / 2^i, S / 2^i]`; else none.
    pub stem: Vec<Tensor<4>>,
    /// The maps that an EfficientNet's features come from.
    pub levels: Option<Levels>,
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
            VisionConfig::EfficientNet(net) => {
                Self::EfficientNet(EfficientNet::load(store, net)?, Neck::load(store, net)?)
            }
        })
    }

    /// # Shapes
    /// - `pixels`: `[B, 3, S, S]`, normalised as the config says; one image (`B` = 1) for an EfficientNet
    /// - output: `[B, N, C]`, patches row by row
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<3> {
        self.encode(pixels).features
    }

    /// As [`VisionEncoder::forward`], with what was seen on the way.
    pub fn encode(&self, pixels: Tensor<4>) -> VisionOutput {
        in_pool(&pixels.device(), || match self {
            Self::Vit(vit) => {
                let (features, stem) = vit.forward_with_stem(pixels);
                VisionOutput { features, stem, levels: None }
            }
            Self::Siglip(siglip) => VisionOutput { features: siglip.forward(pixels), stem: Vec::new(), levels: None },
            Self::EfficientNet(net, neck) => {
                let levels = net.forward(pixels);
                let features = neck.forward(&levels).unsqueeze();
                VisionOutput { features, stem: Vec::new(), levels: Some(levels) }
            }
        })
    }
}

/// `[B, C, h, w]` -> `[B, h * w, C]`, row by row.
fn patches_from_map(map: Tensor<4>) -> Tensor<3> {
    let [b, c, h, w] = map.dims();
    map.reshape([b, c, h * w]).swap_dims(1, 2)
}
