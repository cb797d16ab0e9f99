//! An edit on the image that it is of: pixels are the source's own where nothing changed.

use std::collections::BTreeSet;

use super::{PlacedToken, framed, is_copied};
use crate::Result;
use crate::image::Image;
use crate::image::masks::LabelMap;
use crate::image::preprocess::ResizeFilter;
use crate::image::resize::resample;
use crate::model::config::CompositeConfig;
use crate::model::encoded_image::EncodedImage;

/// The square `now` on the source image; `before` is the square of the source's own tokens.
pub(super) fn composite(
    now: &Image,
    before: &Image,
    patches: &Patches,
    source: &EncodedImage,
    settings: &CompositeConfig,
) -> Result<Image> {
    let original = resample(&source.image, &source.crop, now.width(), now.height(), ResizeFilter::Bilinear);
    let matte = matte(now, before, &original, patches, settings)?;
    let lit = seamless(now, &original, &matte, patches)?;
    blend(source, &framed(&lit, source)?, &framed(&matte, source)?)
}

/// What an edit does to each patch of the grid.
#[derive(Debug, PartialEq)]
pub(super) struct Patches {
    /// Patches a row.
    side: usize,
    /// The token that owned it is gone, or the token that owns it now is new.
    changed: Vec<bool>,
    /// The copied token that owns it now, if that closes a gap which a smaller one left.
    closer: Vec<Option<usize>>,
}

impl Patches {
    pub(super) fn new(labels: &[u32], placed: &[PlacedToken], source: &EncodedImage) -> Self {
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
/// those, which hold the rims of what went and came, as much as the generated image differs from one of the source's own tokens
/// (`before`); all of it next to [`remnants`], too.
fn matte(
    now: &Image,
    before: &Image,
    original: &Image,
    patches: &Patches,
    settings: &CompositeConfig,
) -> Result<Image> {
    let size = now.width() as usize;
    let differences: Vec<f32> = pixels(now).iter().zip(pixels(before)).map(|(a, b)| mean_difference(a, b)).collect();
    let remnants = remnants(now, before, original, patches, settings);
    let [low, high] = settings.rim;
    let level = |at: usize| {
        let square = patches.of_pixel(at, size);
        let nine = || nearby(at, size, size * size, 1);
        if patches.changed[square] || (patches.closer[square].is_some() && nine().any(|at| remnants[at])) {
            255
        } else if patches.is_near(square, 1) {
            let mean = nine().map(|at| differences[at]).sum::<f32>() / 9.0;
            let share = (mean - low) / (high - low);
            (share.clamp(0.0, 1.0) * 255.0).round() as u8
        } else {
            0
        }
    };
    let levels = (0..size * size).flat_map(|at| [level(at); 3]).collect();
    Image::from_rgb(levels, now.width(), now.height())
}

/// Where a thing that went shows past what was drawn of it, so that its patches do not hold all of it: near a gap that was
/// closed, a pixel of the `original` which the generated image has not, and which looks like what went a few pixels away.
fn remnants(now: &Image, before: &Image, original: &Image, patches: &Patches, settings: &CompositeConfig) -> Vec<bool> {
    let size = now.width() as usize;
    let (now, before, original) = (pixels(now), pixels(before), pixels(original));
    let went: Vec<bool> = now.iter().zip(before).map(|(now, before)| difference(now, before) > settings.went).collect();
    let is_remnant = |at: usize| {
        let square = patches.of_pixel(at, size);
        let looks_like = |there: usize| went[there] && difference(&original[at], &before[there]) <= settings.alike;
        patches.closer[square].is_some()
            && patches.is_near(square, 2)
            && difference(&original[at], &now[at]) > settings.strange
            && nearby(at, size, size * size, settings.remnant_reach).any(looks_like)
    };
    (0..size * size).map(is_remnant).collect()
}

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

/// The generated image with the original's light where a gap was closed: what the image of the token that closed it lacks
/// where that token stays is carried on over the gap, so that no seam is seen.
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

#[cfg(test)]
mod tests {
    use super::super::tests::{flat, source, token};
    use super::*;
    use crate::image::preprocess::Crop;

    const SETTINGS: CompositeConfig =
        CompositeConfig { rim: [0.05, 0.13], remnant_reach: 5, strange: 25, went: 38, alike: 20 };

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
            let matte = matte(&flat(now), &flat(10), &flat(200), &patches, &SETTINGS).unwrap();
            [0, 3, 6, 9].map(|at| matte.rgb()[4 * 3 + at])
        };
        assert_eq!(level(10, Some(0)), [255, 0, 0, 0], "nothing went");
        assert_eq!(level(10 + 20, Some(0)), [255, 91, 0, 0], "20 of 255 is between .05 and .13");
        assert_eq!(level(200, None), [255, 255, 0, 0]);
    }

    #[test]
    fn without_settings_nothing_but_the_changed_patches_is_new() {
        let patches = Patches { side: 4, changed: [true, false, false, false].repeat(4), closer: vec![Some(0); 16] };
        let matte = matte(&flat(255), &flat(0), &flat(0), &patches, &CompositeConfig::default()).unwrap();
        assert_eq!([0, 3, 6, 9].map(|at| matte.rgb()[4 * 3 + at]), [255, 0, 0, 0]);
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
            let found = remnants(&now, &before, &original, &patches, &SETTINGS);
            let matte = matte(&now, &before, &original, &patches, &SETTINGS).unwrap();
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
}
