//! Mask head: the hidden state of a `[SEG]` token and the encoder's features -> the mask of what it means.

use burn::tensor::Tensor;
use serde::Serialize;

use crate::image::masks::Mask;
use crate::image::preprocess::Crop;
use crate::kernels::Gelu;
use crate::kernels::dense::{gelu, matmul};
use crate::model::config::{MaskHeadConfig, VitConfig};
use crate::model::encoded_image::EncodedImage;
use crate::model::feature_maps::FeatureMaps;
use crate::nn::conv::Conv2d;
use crate::nn::linear::Linear;
use crate::nn::tensor_store::TensorStore;
use crate::{Error, Result};

/// Patch features say *what* is where; the encoder's stem, at strides 4 and 2, says where exactly it ends. Tensors
/// `mask_head.*`.
#[derive(Debug)]
pub struct MaskHead {
    query_fc1: Linear,
    query_fc2: Linear,
    from_features: Conv2d,
    from_stride4: Conv2d,
    from_stride2: Conv2d,
    mix: Conv2d,
}

impl MaskHead {
    /// # Errors
    /// [`Error::Config`] for a stem that has not the two stages the mask head reads.
    pub fn load(store: &mut TensorStore, config: &MaskHeadConfig, hidden: usize, vision: &VitConfig) -> Result<Self> {
        let &[first, second] = vision.stem_channels.as_slice() else {
            return Err(Error::Config("mask_head needs a vision stem with two entries in stem_channels".into()));
        };
        let width = config.width;
        let mut project = |name: &str, input| Conv2d::load(store, &format!("mask_head.{name}"), [input, width], 1, 1);
        Ok(Self {
            from_features: project("from_features", vision.width)?,
            from_stride4: project("from_stride4", second)?,
            from_stride2: project("from_stride2", first)?,
            query_fc1: Linear::load(store, "mask_head.query_fc1", hidden, hidden)?,
            query_fc2: Linear::load(store, "mask_head.query_fc2", hidden, width)?,
            mix: Conv2d::load(store, "mask_head.mix", [width, width], 3, 1)?,
        })
    }

    /// # Shapes
    /// - `hidden`: `[M, H]`
    /// - output: `[M, S / 2, S / 2]`, the mask is where it exceeds 0
    pub fn forward(&self, hidden: Tensor<2>, maps: &FeatureMaps) -> Tensor<3> {
        let query = self.query_fc2.forward(self.query_fc1.forward_gelu(hidden, Gelu::Exact)); // [m, width]
        let [m, width] = query.dims();
        let x = self.from_features.forward(map_from_patches(maps.features.clone()));
        let x = gelu(double(x) + self.from_stride4.forward(maps.stride4.clone()));
        let x = gelu(double(x) + self.from_stride2.forward(maps.stride2.clone()));
        let x = self.mix.forward(x); // [1, width, h, w]
        let [_, _, h, w] = x.dims();
        let logits = matmul(query, x.reshape([width, h * w])) / (width as f64).sqrt();
        logits.reshape([m, h, w])
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

/// Mask logits of one answer over the square image, read back from the device.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskLogits {
    values: Vec<f32>, // [side, side]
    side: usize,
}

impl MaskLogits {
    /// # Errors
    /// [`Error::Setting`] when the values do not fill `side` rows of `side`; [`Error::NotFinite`].
    pub fn new(values: Vec<f32>, side: usize) -> Result<Self> {
        if side == 0 || side.checked_mul(side) != Some(values.len()) {
            return Err(Error::Setting(format!("{} mask logits do not fill {side} x {side}", values.len())));
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(Error::NotFinite { what: "mask logits", row: at / side }),
            None => Ok(Self { values, side }),
        }
    }

    /// The mask in an image of `width` by `height` pixels, of which the square covers `crop`. Logits are read between
    /// their pixel centres (bilinear), so the rim is as fine as the image.
    ///
    /// # Errors
    /// [`Error::Setting`] when the image is empty.
    pub fn to_mask(&self, crop: &Crop, width: u32, height: u32) -> Result<Mask> {
        let columns: Vec<_> = (0..width).map(|x| crop.square_from_original(f64::from(x) + 0.5, 0.0).0).collect();
        let rows: Vec<_> = (0..height).map(|y| crop.square_from_original(0.0, f64::from(y) + 0.5).1).collect();
        let is_inside = |down: f64, across: f64| {
            let is_covered = (0.0..=1.0).contains(&down) && (0.0..=1.0).contains(&across);
            is_covered && self.at(across, down) > 0.0
        };
        let bits = rows.iter().flat_map(|&down| columns.iter().map(move |&across| is_inside(down, across)));
        Mask::new(bits.collect(), width, height)
    }

    /// The logit at a point of the square, `0.0..=1.0` across and down.
    pub fn at(&self, across: f64, down: f64) -> f32 {
        let (left, right, to_right) = self.neighbors(across);
        let (top, bottom, to_bottom) = self.neighbors(down);
        let row = |y: usize| between(self.values[y * self.side + left], self.values[y * self.side + right], to_right);
        between(row(top), row(bottom), to_bottom)
    }

    /// The two pixel centres around a point and how far it is from the first to the second; beyond the outer centres the
    /// value stays.
    fn neighbors(&self, at: f64) -> (usize, usize, f32) {
        let last = self.side - 1;
        let at = (at * self.side as f64 - 0.5).clamp(0.0, last as f64);
        let first = at.floor() as usize;
        (first, (first + 1).min(last), (at - first as f64) as f32)
    }

    /// How sure the head is of the mask: mean probability of the pixels in it, 0 where there are none.
    pub fn score(&self) -> f32 {
        let inside = || self.values.iter().filter(|&&logit| logit > 0.0);
        let sum: f32 = inside().map(|&logit| 1.0 / (1.0 + (-logit).exp())).sum();
        sum / inside().count().max(1) as f32
    }

    /// Share of each token's area that lies in the mask. `labels` are the tokens of a `grid` of patches over the square.
    pub fn cover(&self, labels: &[u32], grid: [usize; 2], tokens: usize) -> Vec<f32> {
        let [rows, columns] = grid;
        let mut area = vec![0u32; tokens];
        let mut covered = vec![0u32; tokens];
        for (at, &logit) in self.values.iter().enumerate() {
            let (row, column) = (at / self.side * rows / self.side, at % self.side * columns / self.side);
            let token = labels[row * columns + column] as usize;
            area[token] += 1;
            covered[token] += u32::from(logit > 0.0);
        }
        area.iter().zip(covered).map(|(&area, covered)| covered as f32 / area.max(1) as f32).collect()
    }
}

fn between(a: f32, b: f32, share: f32) -> f32 {
    a * (1.0 - share) + b * share
}

/// A mask, how sure the model is of it, and what it covers.
#[derive(Debug, Clone, PartialEq)]
pub struct Segmentation {
    /// At the image's own size.
    pub mask: Mask,
    /// Mean probability of the pixels in the mask; 0 for an empty mask.
    pub score: f32,
    /// The semantic tokens of which at least half lies in the mask.
    pub tokens: Vec<CoveredToken>,
}

/// A semantic token in a mask.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CoveredToken {
    /// Its number in [`crate::model::setokim::TokenReport`].
    pub id: usize,
    /// Share of it that lies in the mask.
    pub covered: f32,
}

impl Segmentation {
    pub(crate) fn new(logits: &MaskLogits, encoded: &EncodedImage) -> Result<Self> {
        let cover = logits.cover(&encoded.labels, encoded.grid, encoded.ids.len());
        let tokens = encoded.ids.iter().zip(cover).map(|(&id, covered)| CoveredToken { id, covered });
        Ok(Self {
            mask: logits.to_mask(&encoded.crop, encoded.image.width(), encoded.image.height())?,
            score: logits.score(),
            tokens: tokens.filter(|token| token.covered >= 0.5).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_the_pictures_size_and_stays_inside_the_crop() {
        let logits = MaskLogits::new(vec![3.0, -3.0, 3.0, -3.0], 2).unwrap();
        let whole = Crop { x: 0.0, y: 0.0, width: 6.0, height: 3.0 };
        let mask = logits.to_mask(&whole, 6, 3).unwrap();
        let row: Vec<u32> = mask.bits()[..6].iter().map(|&bit| bit.into()).collect();
        assert_eq!(row, [1, 1, 1, 0, 0, 0]);
        let right_half = Crop { x: 3.0, y: 0.0, width: 3.0, height: 3.0 };
        let mask = logits.to_mask(&right_half, 6, 3).unwrap();
        assert_eq!(mask.bits()[..6].iter().filter(|&&bit| bit).count(), 1, "{:?}", mask.bits());
    }

    #[test]
    fn the_share_of_each_token_and_the_score() {
        let logits = MaskLogits::new(vec![2.0, -1.0, 2.0, -1.0], 2).unwrap();
        assert_eq!(logits.cover(&[0, 1], [1, 2], 2), [1.0, 0.0]);
        assert_eq!(logits.cover(&[0, 1], [2, 1], 3), [0.5, 0.5, 0.0]);
        assert!((logits.score() - 0.880_797).abs() < 1e-6);
        assert_eq!(MaskLogits::new(vec![-1.0], 1).unwrap().score(), 0.0);
        assert_eq!(MaskLogits::new(vec![f32::NAN], 1).unwrap_err().code(), "not-finite");
        assert_eq!(MaskLogits::new(vec![0.0; 3], 2).unwrap_err().code(), "setting-invalid");
    }
}
