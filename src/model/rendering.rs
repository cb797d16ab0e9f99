//! Visual tokens that the language model wrote -> an image, and what each token has to do with it.

use std::collections::BTreeSet;

use burn::tensor::{DType, Tensor, TensorData, Transaction};
use serde::Serialize;

use crate::image::Image;
use crate::image::image_from_pixels;
use crate::image::masks::LabelMap;
use crate::image::preprocess::Crop;
use crate::image::resize::frame_from_square;
use crate::image::resize::resample;
use crate::image::soft_mask::SoftMask;
use crate::model::encoded_image::EncodedImage;
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
    /// None where an edit changed pixels of a photograph.
    pub tokens: Vec<GeneratedToken>,
    /// Tokens of the source image that the generated does without, by their number in its report.
    pub removed: Vec<usize>,
    /// The tokens themselves, `[L][D]` in the projector's unit.
    pub values: Vec<Vec<f32>>,
}

/// A token of a generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GeneratedToken {
    /// The source image's token that this is an exact copy of, by its number in its report; none for one that is new.
    pub copied: Option<usize>,
    /// Patches that it drew.
    pub patches: usize,
}

/// A token on its way into a generated.
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

    /// The generated as the language model reads it when the chat goes on.
    pub fn to_encoded(&self) -> EncodedImage {
        EncodedImage {
            image: self.image.clone(),
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
    /// Paints an image from tokens. With a `source` it comes in that image's frame, and with `composite` pixels are the
    /// source's own where nothing changed, see [`matte`] and [`seamless`].
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

    /// What was drawn, on the source image.
    async fn composite(
        &self,
        now: &Image,
        labels: &[u32],
        placed: &[PlacedToken],
        source: &EncodedImage,
    ) -> Result<Image> {
        let (before, _) = self.render_square(&unchanged(source)).await?;
        let original = resample(&source.image, &source.crop, now.width(), now.height());
        let patches = Patches::new(labels, placed, source);
        let matte = matte(now, &before, &original, &patches)?;
        let lit = seamless(now, &original, &matte, &patches)?;
        blend(source, &framed(&lit, source)?, &framed(&matte, source)?)
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
        let labels = layout.chunks_exact(placed.len()).map(argmax).collect();
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

/// What an edit does to each patch of the grid.
#[derive(Debug, PartialEq)]
struct Patches {
    /// Patches a row.
    side: usize,
    /// The token that owned it is gone, or the token that owns it now is new.
    changed: Vec<bool>,
    /// The copied token that owns it now, if that closes a gap which a smaller one left.
    closer: Vec<Option<usize>>,
}

impl Patches {
    fn new(labels: &[u32], placed: &[PlacedToken], source: &EncodedImage) -> Self {
        let owners =
            || source.labels.iter().map(|&label| label as usize).zip(labels.iter().map(|&label| label as usize));
        let changed: Vec<bool> =
            owners().map(|(before, now)| !is_copied(placed, before) || placed[now].copied.is_none()).collect();
        let mut areas = vec![0; source.tokens.len()];
        source.labels.iter().for_each(|&label| areas[label as usize] += 1);
        let closes = |token: usize| {
            owners().any(|(before, now)| {
                placed[now].copied == Some(token) && !is_copied(placed, before) && areas[before] < areas[token]
            })
        };
        let closers: Vec<bool> = (0..source.tokens.len()).map(closes).collect();
        let closer = |(_, now): (usize, usize)| placed[now].copied.filter(|&token| closers[token]);
        Self { side: source.grid[1], changed, closer: owners().map(closer).collect() }
    }

    /// The patch of a pixel of a square of `size` x `size`.
    fn of_pixel(&self, at: usize, size: usize) -> usize {
        let patch = size / self.side;
        at / size / patch * self.side + at % size / patch
    }

    /// Whether a patch at most `reach` patches away has changed.
    fn is_near(&self, at: usize, reach: usize) -> bool {
        nearby(at, self.side, self.changed.len(), reach).any(|near| self.changed[near])
    }
}

/// The patches or pixels at most `reach` away from one of `count`, across, down and between, itself included; `side` of them
/// a row.
fn nearby(at: usize, side: usize, count: usize, reach: usize) -> impl Iterator<Item = usize> {
    let around = move |at: usize, end: usize| at.saturating_sub(reach)..(at + reach + 1).min(end);
    around(at / side, count / side).flat_map(move |row| around(at % side, side).map(move |col| row * side + col))
}

/// How much of each pixel of the square is new, from black to white. All of it in a changed patch; in the patches around
/// those, which hold the rims of what went and came, as much as the generated differs from one of the source's own tokens
/// (`before`); all of it next to [`remnants`], too.
fn matte(now: &Image, before: &Image, original: &Image, patches: &Patches) -> Result<Image> {
    let size = now.width() as usize;
    let differences: Vec<f32> = pixels(now).iter().zip(pixels(before)).map(|(a, b)| mean_difference(a, b)).collect();
    let remnants = remnants(now, before, original, patches);
    let level = |at: usize| {
        let square = patches.of_pixel(at, size);
        let nine = || nearby(at, size, size * size, 1);
        if patches.changed[square] || (patches.closer[square].is_some() && nine().any(|at| remnants[at])) {
            255
        } else if patches.is_near(square, 1) {
            let mean = nine().map(|at| differences[at]).sum::<f32>() / 9.0;
            let share = (mean - RIM[0]) / (RIM[1] - RIM[0]);
            (share.clamp(0.0, 1.0) * 255.0).round() as u8
        } else {
            0
        }
    };
    let levels = (0..size * size).flat_map(|at| [level(at); 3]).collect();
    Image::from_rgb(levels, now.width(), now.height())
}

/// Mean difference of nine pixels that is the detokenizer's unrest, and from which all of a pixel is new.
const RIM: [f32; 2] = [0.05, 0.13];

/// Where a thing that went shows past what was drawn of it, so that its patches do not hold all of it: near a gap that was
/// closed, a pixel of the `original` which the generated has not, and which looks like what went a few pixels away.
fn remnants(now: &Image, before: &Image, original: &Image, patches: &Patches) -> Vec<bool> {
    let size = now.width() as usize;
    let (now, before, original) = (pixels(now), pixels(before), pixels(original));
    let went: Vec<bool> = now.iter().zip(before).map(|(now, before)| difference(now, before) > WENT).collect();
    let is_remnant = |at: usize| {
        let square = patches.of_pixel(at, size);
        let looks_like = |there: usize| went[there] && difference(&original[at], &before[there]) <= ALIKE;
        patches.closer[square].is_some()
            && patches.is_near(square, 2)
            && difference(&original[at], &now[at]) > STRANGE
            && nearby(at, size, size * size, REMNANT_REACH).any(looks_like)
    };
    (0..size * size).map(is_remnant).collect()
}

/// In pixels, about half a patch: how far a thing may lie from where it is drawn.
const REMNANT_REACH: usize = 5;
/// Differences of 255, see [`difference`]: more than texture has, more than the detokenizer's unrest, and what shading has.
const STRANGE: u8 = 25;
const WENT: u8 = 38;
const ALIKE: u8 = 20;

fn pixels(image: &Image) -> &[[u8; 3]] {
    image.rgb().as_chunks::<3>().0
}

/// The largest of the three channels.
fn difference(a: &[u8; 3], b: &[u8; 3]) -> u8 {
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// In `0.0..=1.0`.
fn mean_difference(a: &[u8; 3], b: &[u8; 3]) -> f32 {
    a.iter().zip(b).map(|(a, b)| f32::from(a.abs_diff(*b)) / 255.0).sum::<f32>() / 3.0
}

/// The generated with the original's light where a gap was closed: what the generated of the token that closed it lacks where that
/// token stays is carried on over the gap, so that no seam is encoded.
fn seamless(drawn: &Image, original: &Image, matte: &Image, patches: &Patches) -> Result<Image> {
    let size = drawn.width() as usize;
    let owner = |at: usize| patches.closer[patches.of_pixel(at, size)];
    let (original, levels) = (pixels(original), pixels(matte));
    let mut lit = pixels(drawn).to_vec();
    for token in patches.closer.iter().flatten().collect::<BTreeSet<_>>() {
        let is_its = |at: &usize| owner(*at) == Some(*token);
        let offset =
            |at: usize| [0, 1, 2].map(|channel| f32::from(original[at][channel]) - f32::from(lit[at][channel]));
        let offsets: Vec<_> =
            (0..size * size).map(|at| (is_its(&at) && levels[at][0] == 0).then(|| offset(at))).collect();
        let offsets = carried_on(&offsets, size);
        for at in (0..size * size).filter(is_its).filter(|&at| levels[at][0] > 0) {
            lit[at] = [0, 1, 2].map(|channel| (f32::from(lit[at][channel]) + offsets[at][channel]).round() as u8);
        }
    }
    Image::from_rgb(lit.into_flattened(), drawn.width(), drawn.height())
}

/// Fills what is missing in a square of `side` x `side` from what is there: each missing value from the square of half the
/// size, whose values are the means of those that are there ("push-pull", Gortler et al., 1996).
fn carried_on(values: &[Option<[f32; 3]>], side: usize) -> Vec<[f32; 3]> {
    if side == 1 {
        return vec![values[0].unwrap_or_default()];
    }
    let half = side.div_ceil(2);
    let coarse: Vec<_> =
        (0..half * half).map(|at| mean_of_four(values, side, 2 * (at % half), 2 * (at / half))).collect();
    let coarse = carried_on(&coarse, half);
    let value = |at: usize| values[at].unwrap_or_else(|| between(&coarse, half, at % side, at / side));
    (0..side * side).map(value).collect()
}

/// The mean of those that are there of the four values from column `x` and row `y` on.
fn mean_of_four(values: &[Option<[f32; 3]>], side: usize, x: usize, y: usize) -> Option<[f32; 3]> {
    let four = (y..(y + 2).min(side)).flat_map(|y| (x..(x + 2).min(side)).map(move |x| y * side + x));
    let there: Vec<[f32; 3]> = four.filter_map(|at| values[at]).collect();
    let mean = |channel: usize| there.iter().map(|value| value[channel]).sum::<f32>() / there.len() as f32;
    (!there.is_empty()).then(|| [0, 1, 2].map(mean))
}

/// The value of a square of half the size at the middle of a pixel, bilinear.
fn between(coarse: &[[f32; 3]], half: usize, x: usize, y: usize) -> [f32; 3] {
    // A pixel's middle lies a quarter of a coarse pixel from that of the coarse pixel that it is in.
    let next = |at: usize| (at / 2, if at % 2 == 1 { (at / 2 + 1).min(half - 1) } else { (at / 2).saturating_sub(1) });
    let ((left, right), (top, bottom)) = (next(x), next(y));
    let weighted = [(left, top, 0.5625), (right, top, 0.1875), (left, bottom, 0.1875), (right, bottom, 0.0625)];
    [0, 1, 2].map(|channel| weighted.iter().map(|&(x, y, weight)| weight * coarse[y * half + x][channel]).sum())
}

/// `new` over the source image, by the levels of `matte`. Pixels beyond the grid are the source's.
fn blend(source: &EncodedImage, new: &Image, matte: &Image) -> Result<Image> {
    let (width, height) = (source.image.width(), source.image.height());
    let grid = LabelMap::new(&source.labels, source.grid, &source.crop, width, height)?;
    let mut rgb = source.image.rgb().to_vec();
    let at = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let new = pixels(new).iter().zip(pixels(matte));
    for (((x, y), pixel), (new, level)) in at.zip(rgb.as_chunks_mut::<3>().0).zip(new) {
        if grid.get(x, y).is_some() {
            let level = u32::from(level[0]);
            let mix = |(old, new): (u8, u8)| (u32::from(old) * (255 - level) + u32::from(new) * level + 127) / 255;
            *pixel = [0, 1, 2].map(|channel| mix((pixel[channel], new[channel])) as u8);
        }
    }
    Image::from_rgb(rgb, width, height)
}

/// The lower index of equals.
fn argmax(row: &[f32]) -> u32 {
    let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)));
    best.unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(copied: Option<usize>) -> PlacedToken {
        PlacedToken { value: vec![0.0], copied }
    }

    fn flat(value: u8) -> Image {
        Image::from_rgb(vec![value; 4 * 4 * 3], 4, 4).unwrap()
    }

    /// A grid of 2 x 2 patches on 4 x 4 pixels: source tokens 0 0 / 0 1, whose numbers in the report are 5 and 7.
    fn source() -> EncodedImage {
        EncodedImage {
            image: flat(10),
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
        let kept_and_new = [token(Some(0)), token(None)];
        let patches = Patches::new(&[0, 1, 0, 0], &kept_and_new, &source());
        assert_eq!(
            patches.changed,
            [false, true, false, true],
            "a new token top right; token 1 is gone from bottom right"
        );
        assert_eq!(
            patches.closer,
            [Some(0), None, Some(0), Some(0)],
            "token 0 owns bottom right now, and is larger than token 1"
        );
        let all_kept = [token(Some(0)), token(Some(1))];
        let patches = Patches::new(&[0, 0, 0, 1], &all_kept, &source());
        assert_eq!((patches.changed, patches.closer), (vec![false; 4], vec![None; 4]));
        assert_eq!(Patches::new(&[0; 4], &[token(None)], &source()).changed, [true; 4]);
        let smaller_kept = Patches::new(&[0; 4], &[token(Some(1))], &source());
        assert_eq!(smaller_kept.closer, [None; 4], "a thing that grows into a background closes no gap");
    }

    /// Four patches in a row of 4 x 4: the first changed, the next one near it.
    #[test]
    fn a_matte_is_white_where_tokens_changed_and_as_light_as_the_difference_next_to_it() {
        let level = |now: u8, closer: Option<usize>| {
            let changed = [true, false, false, false].repeat(4);
            let patches = Patches { side: 4, changed, closer: vec![closer; 16] };
            let matte = matte(&flat(now), &flat(10), &flat(200), &patches).unwrap();
            [0, 3, 6, 9].map(|at| matte.rgb()[4 * 3 + at])
        };
        assert_eq!(level(10, Some(0)), [255, 0, 0, 0], "nothing went");
        assert_eq!(level(10 + 20, Some(0)), [255, 91, 0, 0], "20 of 255 is between .05 and .13");
        assert_eq!(level(200, None), [255, 255, 0, 0]);
    }

    /// Patches of 2 x 2 on 8 x 8 pixels, all but the first column of them the background's, and the first its since what
    /// stood there went.
    #[test]
    fn what_went_is_wiped_off_where_it_was_not_drawn_and_what_looks_otherwise_stays() {
        let row = |levels: [u8; 8]| {
            Image::from_rgb(levels.repeat(8).iter().flat_map(|&level| [level; 3]).collect(), 8, 8).unwrap()
        };
        let original = row([200, 200, 210, 10, 90, 200, 10, 200]);
        let (before, now) = (row([200, 200, 10, 10, 10, 10, 10, 10]), row([10; 8]));
        let of = |closer: Option<usize>| {
            let changed = [true, false, false, false].repeat(4);
            let patches = Patches { side: 4, changed, closer: vec![closer; 16] };
            let found = remnants(&now, &before, &original, &patches);
            let matte = matte(&now, &before, &original, &patches).unwrap();
            assert_eq!(found[..8], found[56..], "all rows alike");
            (found[24..32].to_vec(), [0, 1, 2, 3, 4, 5, 6, 7].map(|at| matte.rgb()[3 * (24 + at)]))
        };
        let (found, levels) = of(Some(0));
        assert_eq!(found, [true, true, true, false, false, true, false, false], "the last is too far away");
        assert_eq!(levels, [255, 255, 255, 255, 255, 255, 255, 0], "and the pixels next to them");
        assert_eq!(of(None).0, [false; 8], "no gap was closed");
    }

    #[test]
    fn a_drawing_takes_the_light_of_the_original_around_it() {
        let grey = |levels: [u8; 16]| Image::from_rgb(levels.iter().flat_map(|&v| [v; 3]).collect(), 4, 4).unwrap();
        let matte = grey([0, 0, 0, 0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 0, 0, 0]);
        let all = |closer: [Option<usize>; 4]| Patches { side: 2, changed: vec![true; 4], closer: closer.to_vec() };
        let inside = |closer: [Option<usize>; 4]| {
            let lit = seamless(&flat(100), &flat(120), &matte, &all(closer)).unwrap();
            assert_eq!(lit.rgb()[0], 100, "what stays is not drawn");
            [5, 6, 9, 10].map(|at| lit.rgb()[3 * at])
        };
        assert_eq!(inside([Some(3); 4]), [120; 4]);
        assert_eq!(
            inside([Some(3), None, Some(3), None]),
            [120, 100, 120, 100],
            "other tokens have a light of their own"
        );
        let nothing = seamless(&flat(100), &flat(120), &flat(255), &all([Some(0); 4])).unwrap();
        assert_eq!(nothing, flat(100), "nothing to take it from");
    }

    #[test]
    fn missing_values_lie_between_those_that_are_there() {
        let known = |at: usize| match at % 8 {
            0 => Some([0.0; 3]),
            7 => Some([70.0; 3]),
            _ => None,
        };
        let filled = carried_on(&(0..64).map(known).collect::<Vec<_>>(), 8);
        let row: Vec<f32> = filled[24..32].iter().map(|value| value[0]).collect();
        assert!(row.is_sorted() && row[0] == 0.0 && row[7] == 70.0, "{row:?}");
        assert_eq!(carried_on(&[None; 9], 3), [[0.0; 3]; 9]);
    }

    #[test]
    fn a_blend_takes_the_source_where_the_matte_is_black_and_beyond_the_grid() {
        let mixed = |level: u8| blend(&source(), &flat(200), &flat(level)).unwrap().rgb()[0];
        assert_eq!([mixed(0), mixed(51), mixed(255)], [10, 48, 200]);
        let half = Crop { x: 2.0, y: 0.0, width: 2.0, height: 4.0 };
        let beside = blend(&EncodedImage { crop: half, ..source() }, &flat(200), &flat(255)).unwrap();
        assert_eq!([0, 1, 2, 3].map(|x| beside.rgb()[3 * x]), [10, 10, 200, 200]);
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
