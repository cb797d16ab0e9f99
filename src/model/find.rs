//! A phrase in an image by the phrase encoder alone, for a model without a mask head: the tokens whose patches agree with it.

use burn::tensor::{DType, Tensor, TensorData};

use crate::Result;
use crate::model::encoded_image::EncodedImage;
use crate::model::mask_head::{MaskLogits, Segmentation};
use crate::model::setokim::Setokim;
use crate::runtime::readback::read_floats;

/// Tokens above this share of the best one are meant as well.
const SHARE: f32 = 0.5;
/// Logit of the best token.
const SUREST: f32 = 4.0;

impl Setokim {
    /// Where `phrase` is; none where nothing agrees with it well enough (`phrase.found` of the config).
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) for a model without a phrase encoder,
    /// [`Error::NotFinite`](crate::Error::NotFinite), [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub(crate) async fn find_by_words(&self, encoded: &EncodedImage, phrase: &str) -> Result<Option<Segmentation>> {
        let (language, encoder) = (self.language()?, self.phrases()?);
        let direction = encoder.encode(language.means_of_words(&[phrase])?);
        let device = (&self.device().device, DType::F32);
        let [count, width] = [encoded.tokens.len(), encoded.tokens[0].len()];
        let tokens = Tensor::<2>::from_data(TensorData::new(encoded.tokens.concat(), [count, width]), device);
        let tokens = language.projector.denormalize(tokens);
        let fits = read_floats(encoder.match_tokens(direction.clone(), tokens)).await?;
        let best = fits.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let found = self.config().phrase.as_ref().map_or(0.0, |phrase| phrase.found);
        if best.is_nan() || best < found {
            return Ok(None);
        }
        let maps = match &encoded.maps {
            Some(maps) => maps.clone(),
            None => self.feature_maps(&encoded.image)?,
        };
        let cells = read_floats(encoder.match_cells(direction, maps.features)).await?;
        let cells = smoothed(&cells, encoded.grid);
        let logits = logits_of_tokens(&cells, encoded);
        let point = MaskLogits::new(cells, encoded.grid[0])?.point_in(&encoded.crop);
        let segmentation = Segmentation::new(&MaskLogits::new(logits, encoded.grid[0])?, encoded, true)?;
        let score = 1.0 / (1.0 + (found - best).exp());
        Ok((segmentation.mask.area() > 0).then_some(Segmentation { score, point, ..segmentation }))
    }
}

/// A logit for every patch, that of its token: above 0 where the mean of its patches is above [`SHARE`] of the best token's.
/// Where even that is below 0, the best token is meant alone.
fn logits_of_tokens(cells: &[f32], encoded: &EncodedImage) -> Vec<f32> {
    let mut sums = vec![(0.0, 0); encoded.tokens.len()];
    for (&label, value) in encoded.labels.iter().zip(cells) {
        let (sum, count) = &mut sums[label as usize];
        *sum += value;
        *count += 1;
    }
    let means: Vec<f32> = sums.iter().map(|&(sum, count)| sum / count.max(1) as f32).collect();
    let best = means.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let logit = |mean: f32| match best > 0.0 {
        true => SUREST * (mean / best - SHARE) / (1.0 - SHARE),
        false if mean == best => SUREST,
        false => -SUREST,
    };
    encoded.labels.iter().map(|&label| logit(means[label as usize])).collect()
}

/// The mean of each patch and its eight neighbours; at the rim the patch beyond is the one before it.
fn smoothed(cells: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let around = |at: usize, length: usize| [at.saturating_sub(1), at, (at + 1).min(length - 1)];
    let mean = |at: usize| {
        let (row, column) = (at / columns, at % columns);
        let window =
            around(row, rows).into_iter().flat_map(|y| around(column, columns).map(|x| cells[y * columns + x]));
        window.sum::<f32>() / 9.0
    };
    (0..rows * columns).map(mean).collect()
}
