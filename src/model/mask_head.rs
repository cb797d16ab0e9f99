//! Mask head: the hidden state of a `[SEG]` token and the encoder's features -> the mask of what it means.

use burn::tensor::Tensor;
use serde::Serialize;

use crate::image::masks::Mask;
use crate::image::preprocess::Crop;
use crate::image::refine::refine;
use crate::kernels::Gelu;
use crate::kernels::dense::matmul;
use crate::model::config::{MaskHeadConfig, VisionConfig};
use crate::model::encoded_image::EncodedImage;
use crate::model::feature_maps::FeatureMaps;
use crate::model::likeliest::argmax;
use crate::model::mask_places::MaskPlaces;
use crate::nn::linear::Linear;
use crate::nn::tensor_store::TensorStore;
use crate::{Error, Result};

/// A query of the language model, compared with every place of the image; tensors `mask_head.*`.
#[derive(Debug)]
pub struct MaskHead {
    query_fc1: Linear,
    query_fc2: Linear,
    places: MaskPlaces,
    is_refined: bool,
}

impl MaskHead {
    /// # Errors
    /// [`Error::Config`] for an encoder that has not the maps that the mask head reads.
    pub fn load(
        store: &mut TensorStore,
        config: &MaskHeadConfig,
        hidden: usize,
        vision: &VisionConfig,
    ) -> Result<Self> {
        let width = config.width;
        let places = match vision {
            VisionConfig::Vit(vit) => MaskPlaces::of_vit(store, width, vit)?,
            VisionConfig::EfficientNet(net) => MaskPlaces::of_efficientnet(store, width, net)?,
            VisionConfig::Siglip(_) => return Err(Error::Config("mask_head has no maps in a SigLIP tower".into())),
        };
        Ok(Self {
            query_fc1: Linear::load(store, "mask_head.query_fc1", hidden, hidden)?,
            query_fc2: Linear::load(store, "mask_head.query_fc2", hidden, width)?,
            places,
            is_refined: config.refine,
        })
    }

    /// Whether the rim of its masks moves to the edges of the image.
    pub fn is_refined(&self) -> bool {
        self.is_refined
    }

    /// # Shapes
    /// - `hidden`: `[M, H]`
    /// - output: `[M, h, w]`, the mask is where it exceeds 0; a side is that of the finest map
    ///
    /// # Errors
    /// [`Error::Unsupported`] for maps of another encoder.
    pub fn forward(&self, hidden: Tensor<2>, maps: &FeatureMaps) -> Result<Tensor<3>> {
        let query = self.query_fc2.forward(self.query_fc1.forward_gelu(hidden, Gelu::Exact)); // [m, width]
        let places = self.places.forward(maps)?;
        let ([m, width], [_, count]) = (query.dims(), places.dims());
        let logits = matmul(query, places) / (width as f64).sqrt();
        let side = count.isqrt();
        Ok(logits.reshape([m, side, side]))
    }
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

    /// The same, raised where nothing would be in the mask, so that the surest places are.
    fn raised(&self) -> Self {
        const BELOW: f32 = 0.5;
        let best = self.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let raise = (BELOW - best).max(0.0);
        Self { values: self.values.iter().map(|value| value + raise).collect(), side: self.side }
    }

    /// The surest place, across and down an image in pixels, of which the square covers `crop`; the first in reading order
    /// among equals.
    pub(crate) fn point_in(&self, crop: &Crop) -> [f64; 2] {
        let at = argmax(&self.values);
        let center = |i: usize| (i as f64 + 0.5) / self.side as f64;
        crop.original_from_square(center(at % self.side), center(at / self.side)).into()
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
    /// Where the model is surest of it, across and down the image in pixels.
    pub point: [f64; 2],
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
    /// The mask of some logits; `is_refined` moves its rim to the edges of the image, and leaves none empty.
    pub(crate) fn new(logits: &MaskLogits, encoded: &EncodedImage, is_refined: bool) -> Result<Self> {
        let raised = is_refined.then(|| logits.raised());
        let logits = raised.as_ref().unwrap_or(logits);
        let cover = logits.cover(&encoded.labels, encoded.grid, encoded.ids.len());
        let tokens = encoded.ids.iter().zip(cover).map(|(&id, covered)| CoveredToken { id, covered });
        let (image, crop) = (&encoded.image, &encoded.crop);
        let mask = match is_refined {
            true => refine(image, &logits.values, [logits.side; 2], crop)?.to_mask(),
            false => logits.to_mask(crop, image.width(), image.height())?,
        };
        Ok(Self {
            mask,
            point: logits.point_in(crop),
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
