//! What a mask head compares its query with: a vector for every place of an image, from patch features that say *what* is
//! where and finer maps that say where exactly it ends.

use burn::tensor::{DType, Int, Tensor, TensorData};

use crate::kernels::Filters;
use crate::kernels::dense::gelu;
use crate::model::config::{EfficientNetConfig, VitConfig};
use crate::model::feature_maps::{FeatureMaps, FinerMaps};
use crate::model::vision::coarse_positions;
use crate::nn::conv::{Conv2d, RowsConv};
use crate::nn::linear::Linear;
use crate::nn::norms::LayerNorm;
use crate::nn::tensor_store::TensorStore;
use crate::{Error, Result};

/// Tensors `mask_head.{from_features, from_.., mix}`.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a model has one")]
pub(super) enum MaskPlaces {
    /// Of a ViT: with its stem, at strides 4 and 2.
    Stem { from_features: Conv2d, from_stride4: Conv2d, from_stride2: Conv2d, mix: Conv2d },
    /// Of an EfficientNet: with its map at stride 8.
    Stride8 {
        from_features: Linear,
        /// For each place the patch that covers it.
        coarse: Tensor<1, Int>,
        norm8: LayerNorm,
        from_stride8: Linear,
        mix: RowsConv,
    },
}

impl MaskPlaces {
    /// # Errors
    /// [`Error::Config`] for a stem that has not the two stages the mask head reads.
    pub fn of_vit(store: &mut TensorStore, width: usize, vision: &VitConfig) -> Result<Self> {
        let &[first, second] = vision.stem_channels.as_slice() else {
            return Err(Error::Config("mask_head needs a vision stem with two entries in stem_channels".into()));
        };
        let mut project = |name: &str, input| Conv2d::load(store, &format!("mask_head.{name}"), [input, width], 1, 1);
        Ok(Self::Stem {
            from_features: project("from_features", vision.width)?,
            from_stride4: project("from_stride4", second)?,
            from_stride2: project("from_stride2", first)?,
            mix: Conv2d::load(store, "mask_head.mix", [width, width], 3, 1)?,
        })
    }

    /// # Errors
    /// [`Error::Config`] for an encoder without a map at stride 8.
    pub fn of_efficientnet(store: &mut TensorStore, width: usize, vision: &EfficientNetConfig) -> Result<Self> {
        let missing = || Error::Config("mask_head needs a map at stride 8".into());
        let channels = vision.channels_at(8).ok_or_else(missing)?;
        let side = vision.image_size / 8;
        let coarse: Vec<i32> = coarse_positions(side).into_iter().map(|patch| patch as i32).collect();
        let filters = Filters { kernel: 3, stride: 1, padding: [1, 1], is_relu6: false };
        Ok(Self::Stride8 {
            from_features: Linear::load(store, "mask_head.from_features", vision.neck.width, width)?,
            coarse: Tensor::from_data(TensorData::from(coarse.as_slice()), (store.device(), DType::I32)),
            norm8: LayerNorm::load(store, "mask_head.norm8", channels, vision.neck.norm_eps)?,
            from_stride8: Linear::load(store, "mask_head.from_stride8", channels, width)?,
            mix: RowsConv::load(store, "mask_head.mix", [width, width], side, filters)?,
        })
    }

    /// # Shapes
    /// - output: `[width, side * side]`, row by row of a square
    ///
    /// # Errors
    /// [`Error::Unsupported`] for maps of another encoder.
    pub fn forward(&self, maps: &FeatureMaps) -> Result<Tensor<2>> {
        let features = maps.features.clone();
        match (self, &maps.finer) {
            (Self::Stem { from_features, from_stride4, from_stride2, mix }, FinerMaps::Stem { stride4, stride2 }) => {
                let x = from_features.forward(map_from_patches(features));
                let x = gelu(double(x) + from_stride4.forward(stride4.clone()));
                let x = gelu(double(x) + from_stride2.forward(stride2.clone()));
                let x = mix.forward(x); // [1, width, h, w]
                let [_, width, h, w] = x.dims();
                Ok(x.reshape([width, h * w]))
            }
            (Self::Stride8 { from_features, coarse, norm8, from_stride8, mix }, FinerMaps::Stride8(stride8)) => {
                let x = from_features.forward(features).select(0, coarse.clone());
                let x = gelu(from_stride8.forward_onto(x, norm8.forward(stride8.clone())));
                Ok(mix.forward(x, None).transpose())
            }
            _ => Err(Error::Unsupported("mask head for this encoder")),
        }
    }
}

/// `[N, C]`, row by row of a square -> `[1, C, side, side]`.
fn map_from_patches(features: Tensor<2>) -> Tensor<4> {
    let [n, c] = features.dims();
    let side = n.isqrt();
    features.transpose().reshape([1, c, side, side])
}

/// Nearest-neighbour upsampling by 2.
fn double(x: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    x.reshape([b * c, h, 1, w, 1]).repeat_dim(2, 2).repeat_dim(4, 2).reshape([b, c, 2 * h, 2 * w])
}
