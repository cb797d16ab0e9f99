//! What an encoder leaves of an image besides its patch features.

use burn::tensor::Tensor;

/// What the mask head sees of an image.
#[derive(Debug, Clone)]
pub struct FeatureMaps {
    /// `[N, C]`, normalised as for the clustering.
    pub features: Tensor<2>,
    /// What says where things end.
    pub finer: FinerMaps,
}

/// Maps with more places than there are patches.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one for each image, and the tensors are only handles")]
pub enum FinerMaps {
    /// Of a ViT's convolutional stem.
    Stem {
        /// Its second stage, `[1, C4, S / 4, S / 4]`.
        stride4: Tensor<4>,
        /// Its first stage, `[1, C2, S / 2, S / 2]`.
        stride2: Tensor<4>,
    },
    /// Of an EfficientNet, pixels row by row: `[(S / 8)^2, C8]`.
    Stride8(Tensor<2>),
}
