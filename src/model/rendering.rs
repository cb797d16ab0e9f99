//! Visual tokens that the language model wrote -> an image, and what each token has to do with it.

mod composite;

use std::sync::Arc;

use burn::tensor::{DType, Tensor, TensorData, Transaction};
use serde::Serialize;

use self::composite::{Patches, composite};
use crate::image::Image;
use crate::image::image_from_pixels;
use crate::image::masks::LabelMap;
use crate::image::preprocess::Crop;
use crate::image::resize::frame_from_square;
use crate::image::soft_mask::SoftMask;
use crate::model::encoded_image::EncodedImage;
use crate::model::likeliest::argmax;
use crate::model::setokim::Setokim;
use crate::runtime::readback::{self, read_together};
use crate::{Error, Result};

/// An image that was drawn.
#[derive(Debug, Clone)]
pub struct GeneratedImage {
    /// In the frame of the source image if it is an edit, else the model's own square.
    pub image: Image,
    /// How opaque each pixel is, where something was cut out.
    pub alpha: Option<SoftMask>,
    /// The part of the image that the grid covers.
    pub crop: Crop,
    /// Rows and columns of patches.
    pub grid: [usize; 2],
    /// Which token drew each patch, row by row: an index into `tokens`.
    pub labels: Vec<u32>,
    /// The tokens that it was rendered from, in the order in which they came. None where an edit changed pixels of a
    /// photograph.
    pub tokens: Vec<GeneratedToken>,
    /// Tokens of the source image that the generated image does without, by their number in its report.
    pub removed: Vec<usize>,
    /// The tokens themselves, `[L][D]` in the projector's unit.
    pub values: Vec<Vec<f32>>,
}

/// A token of a generated image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GeneratedToken {
    /// The source image's token that this is an exact copy of, by its number in its report; none for one that is new.
    pub copied: Option<usize>,
    /// Patches that it drew.
    pub patches: usize,
}

/// A token on its way into a generated image.
#[derive(Debug, Clone)]
pub(crate) struct PlacedToken {
    /// `[D]`, in the projector's unit.
    pub(crate) value: Vec<f32>,
    /// The source image's token that it copies, in the language model's order.
    pub(crate) copied: Option<usize>,
}

impl GeneratedImage {
    /// The token of every pixel of the image.
    pub fn label_map(&self) -> Result<LabelMap> {
        LabelMap::new(&self.labels, self.grid, &self.crop, self.image.width(), self.image.height())
    }

    /// The image as the language model reads it when the chat goes on.
    pub fn to_encoded(&self) -> Arc<EncodedImage> {
        Arc::new(EncodedImage {
            image: self.image.clone(),
            crop: self.crop,
            grid: self.grid,
            labels: self.labels.clone(),
            ids: (0..self.values.len()).collect(),
            names: Vec::new(),
            tokens: self.values.clone(),
            maps: None,
            milliseconds: 0.0,
        })
    }
}

impl Setokim {
    /// Renders an image from tokens. With a `source` it comes in that image's frame, and with `composite` pixels are the
    /// source's own where nothing changed, see `composite.rs`.
    pub(crate) async fn render(
        &self,
        placed: &[PlacedToken],
        source: Option<&EncodedImage>,
        composite: bool,
    ) -> Result<GeneratedImage> {
        let (square, labels) = self.render_square(placed).await?;
        let (width, height) = (square.width(), square.height());
        let whole = Crop { x: 0.0, y: 0.0, width: width.into(), height: height.into() };
        let side = self.config().vision.grid();
        let tokens = generated_tokens(placed, &labels, source);
        let image = match source {
            Some(source) if composite => self.composite(&square, &labels, placed, source).await?,
            Some(source) => framed(&square, source)?,
            None => square,
        };
        Ok(GeneratedImage {
            image,
            alpha: None,
            crop: source.map_or(whole, |source| source.crop),
            grid: [side, side],
            tokens,
            removed: source.map_or_else(Vec::new, |source| removed_tokens(placed, source)),
            labels,
            values: placed.iter().map(|token| token.value.clone()).collect(),
        })
    }

    /// What was rendered, on the source image.
    async fn composite(
        &self,
        now: &Image,
        labels: &[u32],
        placed: &[PlacedToken],
        source: &EncodedImage,
    ) -> Result<Image> {
        let (before, _) = self.render_square(&unchanged(source)).await?;
        composite(now, &before, &Patches::new(labels, placed, source), source, &self.config().composite)
    }

    /// The model's square image and the token of each patch.
    async fn render_square(&self, placed: &[PlacedToken]) -> Result<(Image, Vec<u32>)> {
        let detok = self.detok().ok_or(Error::Unsupported("detokenizer"))?;
        let width = placed.first().map_or(0, |token| token.value.len());
        let values: Vec<f32> = placed.iter().flat_map(|token| token.value.iter().copied()).collect();
        let device = (&self.device().device, DType::F32);
        let normal = Tensor::<2>::from_data(TensorData::new(values, [placed.len(), width]), device);
        let tokens = self.language()?.projector.denormalize(normal);
        let layout = detok.layout(tokens.clone()).ok_or(Error::Unsupported("detokenizer block"))?;
        let read = Transaction::default().register(detok.forward(tokens)).register(layout);
        let [pixels, layout] = read_together(read).await?.map(readback::values::<f32>);
        let labels = layout.chunks_exact(placed.len()).map(|row| argmax(row) as u32).collect();
        Ok((image_from_pixels(&pixels, self.config().vision.image_size())?, labels))
    }
}

/// A square of the model's in the frame of an image.
fn framed(square: &Image, source: &EncodedImage) -> Result<Image> {
    frame_from_square(square, &source.crop, source.image.width(), source.image.height())
}

fn generated_tokens(placed: &[PlacedToken], labels: &[u32], source: Option<&EncodedImage>) -> Vec<GeneratedToken> {
    let token = |(i, token): (usize, &PlacedToken)| GeneratedToken {
        copied: token.copied.and_then(|copied| source.map(|source| source.ids[copied])),
        patches: labels.iter().filter(|&&label| label as usize == i).count(),
    };
    placed.iter().enumerate().map(token).collect()
}

fn is_copied(placed: &[PlacedToken], token: usize) -> bool {
    placed.iter().any(|placed| placed.copied == Some(token))
}

fn removed_tokens(placed: &[PlacedToken], source: &EncodedImage) -> Vec<usize> {
    (0..source.ids.len()).filter(|&token| !is_copied(placed, token)).map(|token| source.ids[token]).collect()
}

/// The source image, token for token.
fn unchanged(source: &EncodedImage) -> Vec<PlacedToken> {
    let token = |(token, value): (usize, &Vec<f32>)| PlacedToken { value: value.clone(), copied: Some(token) };
    source.tokens.iter().enumerate().map(token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn token(copied: Option<usize>) -> PlacedToken {
        PlacedToken { value: vec![0.0], copied }
    }

    pub(super) fn flat(value: u8) -> Image {
        Image::from_rgb(vec![value; 4 * 4 * 3], 4, 4).unwrap()
    }

    /// A grid of 2 x 2 patches on 4 x 4 pixels: source tokens 0 0 / 0 1, whose numbers in the report are 5 and 7.
    pub(super) fn source() -> EncodedImage {
        EncodedImage {
            image: flat(10),
            crop: Crop { x: 0.0, y: 0.0, width: 4.0, height: 4.0 },
            grid: [2, 2],
            labels: vec![0, 0, 0, 1],
            ids: vec![5, 7],
            names: Vec::new(),
            tokens: vec![vec![0.0]; 2],
            maps: None,
            milliseconds: 0.0,
        }
    }

    #[test]
    fn tokens_are_told_by_their_number_in_the_report() {
        let placed = [token(Some(1)), token(None)];
        assert_eq!(removed_tokens(&placed, &source()), [5]);
        let tokens = generated_tokens(&placed, &[0, 0, 0, 1], Some(&source()));
        assert_eq!(
            tokens,
            [GeneratedToken { copied: Some(7), patches: 3 }, GeneratedToken { copied: None, patches: 1 }]
        );
    }
}
