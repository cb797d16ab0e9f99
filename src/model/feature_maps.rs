//! What an encoder leaves of an image besides its patch features.

use burn::tensor::Tensor;

/// What the mask head sees of an image.
#[derive(Debug, Clone)]
pub struct FeatureMaps {
    /// `[N, C]`, normalised as for the clustering.
    pub features: Tensor<2>,
    /// The stem's second stage, `[1, C4, S / 4, S / 4]`.
    pub stride4: Tensor<4>,
    /// The stem's first stage, `[1, C2, S / 2, S / 2]`.
    pub stride2: Tensor<4>,
}
