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
    /// Paints a picture from tokens. With a `source` it comes in that picture's frame, and with `paste` pixels are the
    /// source's own where nothing changed, see [`matte`].
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
            let square = drawing.picture;
            drawing.picture = frame_from_square(&square, &source.crop, width, height)?;
            drawing.crop = source.crop;
            if paste {
                let changed = changed_patches(&drawing.labels, strokes, source);
                let (before, _) = self.paint_square(&unchanged(source)).await?;
                let matte = frame_from_square(&matte(&square, &before, &changed, side)?, &source.crop, width, height)?;
                drawing.picture = blend(source, &drawing.picture, &matte)?;
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

/// The source picture, token for token.
fn unchanged(source: &Seen) -> Vec<Stroke> {
    let stroke = |(token, value): (usize, &Vec<f32>)| Stroke { value: value.clone(), kept: Some(token) };
    source.tokens.iter().enumerate().map(stroke).collect()
}

/// A patch has changed if the token that owned it is gone or the token that owns it now is new.
fn changed_patches(labels: &[u32], strokes: &[Stroke], source: &Seen) -> Vec<bool> {
    let has_changed =
        |(&before, &now): (&u32, &u32)| !is_kept(strokes, before as usize) || strokes[now as usize].kept.is_none();
    source.labels.iter().zip(labels).map(has_changed).collect()
}

/// How much of each pixel of the square is new, from black to white: all of it in a changed patch, and in the patches
/// around those, which hold the rims of what went and came, as much as the drawing differs there from a drawing of the
/// source's own tokens. `side` patches a row.
fn matte(now: &Picture, before: &Picture, changed: &[bool], side: usize) -> Result<Picture> {
    let size = now.width() as usize;
    let patch = size / side;
    let difference: Vec<u32> = now
        .rgb()
        .as_chunks::<3>()
        .0
        .iter()
        .zip(before.rgb().as_chunks::<3>().0)
        .map(|(a, b)| a.iter().zip(b).map(|(&a, &b)| u32::from(a.abs_diff(b))).sum())
        .collect();
    let around = |at: usize, end: usize| at.saturating_sub(1)..(at + 2).min(end);
    let level = |at: usize| {
        let (y, x) = (at / size, at % size);
        let (row, col) = (y / patch, x / patch);
        let is_near = || around(row, side).any(|row| around(col, side).any(|col| changed[row * side + col]));
        if changed[row * side + col] {
            return u8::MAX;
        }
        if !is_near() {
            return 0;
        }
        let sum: u32 =
            around(y, size).flat_map(|y| around(x, size).map(move |x| y * size + x)).map(|at| difference[at]).sum();
        let share = (sum as f32 / NINE_PIXELS - SAME) / (DIFFERENT - SAME);
        (share.clamp(0.0, 1.0) * 255.0).round() as u8
    };
    let levels = (0..size * size).flat_map(|at| [level(at); 3]).collect();
    Picture::from_rgb(levels, now.width(), now.height())
}

/// The largest difference of three by three pixels.
const NINE_PIXELS: f32 = 9.0 * 3.0 * 255.0;
/// A mean difference up to this is the detokenizer's unrest.
const SAME: f32 = 0.05;
/// From this mean difference on all of a pixel is new.
const DIFFERENT: f32 = 0.13;

/// `new` over the source picture, by the levels of `matte`. Pixels beyond the grid are the source's.
fn blend(source: &Seen, new: &Picture, matte: &Picture) -> Result<Picture> {
    let (width, height) = (source.picture.width(), source.picture.height());
    let grid = LabelMap::new(&source.labels, source.grid, &source.crop, width, height)?;
    let mut rgb = source.picture.rgb().to_vec();
    let at = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let new = new.rgb().as_chunks::<3>().0.iter().zip(matte.rgb().as_chunks::<3>().0);
    for (((x, y), pixel), (new, level)) in at.zip(rgb.as_chunks_mut::<3>().0).zip(new) {
        if grid.get(x, y).is_some() {
            let level = u32::from(level[0]);
            let mix = |(old, new): (u8, u8)| (u32::from(old) * (255 - level) + u32::from(new) * level + 127) / 255;
            *pixel = [0, 1, 2].map(|channel| mix((pixel[channel], new[channel])) as u8);
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

    #[test]
    fn a_patch_changes_with_the_token_that_owned_it_or_owns_it_now() {
        let kept_and_new = [stroke(Some(0)), stroke(None)];
        let changed = changed_patches(&[0, 1, 0, 0], &kept_and_new, &source());
        assert_eq!(changed, [false, true, false, true], "a new token top right; token 1 is gone from bottom right");
        let all_kept = [stroke(Some(0)), stroke(Some(1))];
        assert_eq!(changed_patches(&[0, 0, 0, 1], &all_kept, &source()), [false; 4]);
        assert_eq!(changed_patches(&[0; 4], &[stroke(None)], &source()), [true; 4]);
    }

    /// Four patches in a row of 4 x 4: the first changed, the next one near it.
    #[test]
    fn a_matte_is_white_where_tokens_changed_and_as_light_as_the_difference_next_to_it() {
        let changed = [true, false, false, false].repeat(4);
        let level = |now: u8| {
            let matte = matte(&flat(now), &flat(10), &changed, 4).unwrap();
            [0, 3, 6, 9].map(|at| matte.rgb()[4 * 3 + at])
        };
        assert_eq!(level(10), [255, 0, 0, 0]);
        assert_eq!(level(10 + 20)[..3], [255, 91, 0], "20 of 255 is between .05 and .13");
        assert_eq!(level(200), [255, 255, 0, 0]);
    }

    #[test]
    fn a_blend_takes_the_source_where_the_matte_is_black_and_beyond_the_grid() {
        let mixed = |level: u8| blend(&source(), &flat(200), &flat(level)).unwrap().rgb()[0];
        assert_eq!([mixed(0), mixed(51), mixed(255)], [10, 48, 200]);
        let half = Crop { x: 2.0, y: 0.0, width: 2.0, height: 4.0 };
        let beside = blend(&Seen { crop: half, ..source() }, &flat(200), &flat(255)).unwrap();
        assert_eq!([0, 1, 2, 3].map(|x| beside.rgb()[3 * x]), [10, 10, 200, 200]);
    }

    #[test]
    fn tokens_are_told_by_their_number_in_the_report() {
        let strokes = [stroke(Some(1)), stroke(None)];
        assert_eq!(removed_tokens(&strokes, &source()), [5]);
        let tokens = drawn_tokens(&strokes, &[0, 0, 0, 1], Some(&source()));
        assert_eq!(tokens, [DrawnToken { kept: Some(7), patches: 3 }, DrawnToken { kept: None, patches: 1 }]);
    }
}
