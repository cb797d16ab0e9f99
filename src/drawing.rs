//! Visual tokens that the language model wrote -> a picture, and what each token has to do with it.

use burn::tensor::{DType, Tensor, TensorData, Transaction};
use serde::Serialize;

use crate::postprocess::{LabelMap, frame_from_square, picture_from_pixels};
use crate::preprocess::{Crop, Picture};
use crate::seen::Seen;
use crate::setokim::Setokim;
use crate::{Error, Result};

/// A picture that was drawn.
#[derive(Debug, Clone)]
pub struct Drawing {
    /// In the frame of the source picture if it is an edit, else the model's own square.
    pub picture: Picture,
    /// The part of the picture that the grid covers.
    pub crop: Crop,
    /// Rows and columns of patches.
    pub grid: [usize; 2],
    /// Which token drew each patch, row by row: an index into `tokens`.
    pub labels: Vec<u32>,
    pub tokens: Vec<DrawnToken>,
    /// Tokens of the source picture that the drawing does without, by their number in its report.
    pub removed: Vec<usize>,
    /// The tokens themselves, `[L][D]` in the projector's unit.
    pub values: Vec<Vec<f32>>,
}

/// A token of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DrawnToken {
    /// The source picture's token that this is an exact copy of, by its number in its report; none for one that is new.
    pub kept: Option<usize>,
    /// Patches that it drew.
    pub patches: usize,
}

/// A token on its way into a drawing.
#[derive(Debug, Clone)]
pub(crate) struct Stroke {
    /// `[D]`, in the projector's unit.
    pub(crate) value: Vec<f32>,
    /// The source picture's token that it copies, in the language model's order.
    pub(crate) kept: Option<usize>,
}

impl Drawing {
    /// The token of every pixel of the picture.
    pub fn label_map(&self) -> Result<LabelMap> {
        LabelMap::new(&self.labels, self.grid, &self.crop, self.picture.width(), self.picture.height())
    }

    /// The drawing as the language model reads it when the chat goes on.
    pub fn to_seen(&self) -> Seen {
        Seen {
            picture: self.picture.clone(),
            crop: self.crop,
            grid: self.grid,
            labels: self.labels.clone(),
            ids: (0..self.values.len()).collect(),
            tokens: self.values.clone(),
            maps: None,
            milliseconds: 0.0,
        }
    }
}

impl Setokim {
    /// Paints a picture from tokens. With a `source` it comes in that picture's frame, and with `paste` every pixel that no
    /// changed token owns is the source's own.
    pub(crate) async fn paint(&self, strokes: &[Stroke], source: Option<&Seen>, paste: bool) -> Result<Drawing> {
        let (square, labels) = self.paint_square(strokes).await?;
        let (width, height) = (square.width(), square.height());
        let crop = Crop { x: 0.0, y: 0.0, width: width.into(), height: height.into() };
        let side = self.config().vision.grid();
        let mut drawing = Drawing {
            picture: square,
            crop,
            grid: [side, side],
            tokens: drawn_tokens(strokes, &labels, source),
            removed: source.map_or_else(Vec::new, |source| removed_tokens(strokes, source)),
            labels,
            values: strokes.iter().map(|stroke| stroke.value.clone()).collect(),
        };
        if let Some(source) = source {
            let (width, height) = (source.picture.width(), source.picture.height());
            drawing.picture = frame_from_square(&drawing.picture, &source.crop, width, height)?;
            drawing.crop = source.crop;
            if paste {
                drawing.picture = paste_unchanged(&drawing, strokes, source)?;
            }
        }
        Ok(drawing)
    }

    /// The model's square picture and the token of each patch.
    async fn paint_square(&self, strokes: &[Stroke]) -> Result<(Picture, Vec<u32>)> {
        let detok = self.detok().ok_or(Error::Unsupported("detokenizer"))?;
        let width = strokes.first().map_or(0, |stroke| stroke.value.len());
        let values: Vec<f32> = strokes.iter().flat_map(|stroke| stroke.value.iter().copied()).collect();
        let device = (&self.device().device, DType::F32);
        let normal = Tensor::<2>::from_data(TensorData::new(values, [strokes.len(), width]), device);
        let tokens = self.language()?.projector.denormalize(normal);
        let layout = detok.layout(tokens.clone()).ok_or(Error::Unsupported("detokenizer block"))?;
        let read = Transaction::default().register(detok.forward(tokens)).register(layout).execute_async().await;
        let read = read.map_err(|error| Error::DeviceLost(error.to_string()))?;
        let lost = || Error::DeviceLost("the device returned no picture".into());
        let [pixels, layout]: [TensorData; 2] = read.try_into().map_err(|_| lost())?;
        let pixels: Vec<f32> = pixels.try_into_vec().map_err(|_| lost())?;
        let layout: Vec<f32> = layout.try_into_vec().map_err(|_| lost())?;
        let labels = layout.chunks_exact(strokes.len()).map(argmax).collect();
        Ok((picture_from_pixels(&pixels, self.config().vision.image_size())?, labels))
    }
}

fn drawn_tokens(strokes: &[Stroke], labels: &[u32], source: Option<&Seen>) -> Vec<DrawnToken> {
    let token = |(i, stroke): (usize, &Stroke)| DrawnToken {
        kept: stroke.kept.and_then(|kept| source.map(|source| source.ids[kept])),
        patches: labels.iter().filter(|&&label| label as usize == i).count(),
    };
    strokes.iter().enumerate().map(token).collect()
}

fn is_kept(strokes: &[Stroke], token: usize) -> bool {
    strokes.iter().any(|stroke| stroke.kept == Some(token))
}

fn removed_tokens(strokes: &[Stroke], source: &Seen) -> Vec<usize> {
    (0..source.ids.len()).filter(|&token| !is_kept(strokes, token)).map(|token| source.ids[token]).collect()
}

/// A patch has changed if the token that owned it is gone or the token that owns it now is new. All other pixels are
/// taken from the source, those beyond the grid included.
fn paste_unchanged(drawing: &Drawing, strokes: &[Stroke], source: &Seen) -> Result<Picture> {
    let has_changed = |(&before, &now): (&u32, &u32)| {
        u32::from(!is_kept(strokes, before as usize) || strokes[now as usize].kept.is_none())
    };
    let changed: Vec<u32> = source.labels.iter().zip(&drawing.labels).map(has_changed).collect();
    let (width, height) = (source.picture.width(), source.picture.height());
    let map = LabelMap::new(&changed, source.grid, &source.crop, width, height)?;
    let mut rgb = source.picture.rgb().to_vec();
    let at = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let new = drawing.picture.rgb().as_chunks::<3>().0;
    for (((x, y), pixel), new) in at.zip(rgb.as_chunks_mut::<3>().0).zip(new) {
        if map.get(x, y) == Some(1) {
            *pixel = *new;
        }
    }
    Picture::from_rgb(rgb, width, height)
}

/// The lower index of equals.
fn argmax(row: &[f32]) -> u32 {
    let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)));
    best.unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stroke(kept: Option<usize>) -> Stroke {
        Stroke { value: vec![0.0], kept }
    }

    fn flat(value: u8) -> Picture {
        Picture::from_rgb(vec![value; 4 * 4 * 3], 4, 4).unwrap()
    }

    /// A grid of 2 x 2 patches on 4 x 4 pixels: source tokens 0 0 / 0 1, whose numbers in the report are 5 and 7.
    fn source() -> Seen {
        Seen {
            picture: flat(10),
            crop: Crop { x: 0.0, y: 0.0, width: 4.0, height: 4.0 },
            grid: [2, 2],
            labels: vec![0, 0, 0, 1],
            ids: vec![5, 7],
            tokens: vec![vec![0.0]; 2],
            maps: None,
            milliseconds: 0.0,
        }
    }

    fn drawing(labels: [u32; 4]) -> Drawing {
        Drawing {
            picture: flat(200),
            crop: source().crop,
            grid: [2, 2],
            labels: labels.to_vec(),
            tokens: Vec::new(),
            removed: Vec::new(),
            values: Vec::new(),
        }
    }

    fn corners(picture: &Picture) -> [u8; 4] {
        [(0, 0), (3, 0), (0, 3), (3, 3)].map(|(x, y)| picture.rgb()[(y * 4 + x) * 3])
    }

    #[test]
    fn pixels_come_from_the_source_where_the_same_token_stays() {
        let kept_and_new = [stroke(Some(0)), stroke(None)];
        let pasted = paste_unchanged(&drawing([0, 1, 0, 0]), &kept_and_new, &source()).unwrap();
        assert_eq!(corners(&pasted), [10, 200, 10, 200], "a new token top right; token 1 is gone from bottom right");
        let all_kept = [stroke(Some(0)), stroke(Some(1))];
        assert_eq!(corners(&paste_unchanged(&drawing([0, 0, 0, 1]), &all_kept, &source()).unwrap()), [10; 4]);
        let nothing_kept = [stroke(None)];
        assert_eq!(corners(&paste_unchanged(&drawing([0; 4]), &nothing_kept, &source()).unwrap()), [200; 4]);
    }

    #[test]
    fn tokens_are_told_by_their_number_in_the_report() {
        let strokes = [stroke(Some(1)), stroke(None)];
        assert_eq!(removed_tokens(&strokes, &source()), [5]);
        let tokens = drawn_tokens(&strokes, &[0, 0, 0, 1], Some(&source()));
        assert_eq!(tokens, [DrawnToken { kept: Some(7), patches: 3 }, DrawnToken { kept: None, patches: 1 }]);
    }
}
