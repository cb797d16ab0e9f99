//! Picture out: patch labels -> masks and overlays in the original picture's pixels, and the detokenizer's values ->
//! a [`Picture`].

use image::ExtendedColorType::{L8, Rgb8};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use serde::{Deserialize, Serialize};

use crate::palette::palette;
use crate::preprocess::{Crop, MAX_SIZE, Picture, check_size, resample};
use crate::{Error, Result};

/// The token of every pixel of the original picture, by the patch that the pixel lies in. Looked up rather than
/// stored: a map of a 64-megapixel picture takes no more than its edges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    /// `[rows, cols]`
    labels: Vec<u32>,
    cols: usize,
    /// The patch column of each pixel column; none outside the crop.
    col_of: Vec<Option<usize>>,
    /// The patch row of each pixel row; none outside the crop.
    row_of: Vec<Option<usize>>,
}

impl LabelMap {
    /// Spreads the labels of `grid` `[rows, cols]` (row-major, one per patch) over a picture of `width` by `height`
    /// pixels, of which the grid covers `crop`.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] when the labels do not fill the grid, or grid, crop or picture is empty.
    pub fn new(labels: &[u32], grid: [usize; 2], crop: &Crop, width: u32, height: u32) -> Result<Self> {
        let [rows, cols] = grid;
        if labels.is_empty() || rows.checked_mul(cols) != Some(labels.len()) {
            return Err(Error::Setting(format!("{} labels do not fill a grid of {rows} x {cols}", labels.len())));
        }
        let covers = crop.width > 0.0 && crop.height > 0.0 && crop.x.is_finite() && crop.y.is_finite();
        if !(covers && width > 0 && height > 0) {
            return Err(Error::Setting(format!("no labels fit on {width} x {height} pixels and the crop {crop:?}")));
        }
        Ok(Self {
            labels: labels.to_vec(),
            cols,
            col_of: patch_of(width, crop.x, crop.width, cols),
            row_of: patch_of(height, crop.y, crop.height, rows),
        })
    }

    /// Width of the picture in pixels.
    pub fn width(&self) -> u32 {
        self.col_of.len() as u32
    }

    /// Height of the picture in pixels.
    pub fn height(&self) -> u32 {
        self.row_of.len() as u32
    }

    /// The token of the pixel in column `x` of row `y`; none outside the crop or the picture.
    pub fn get(&self, x: u32, y: u32) -> Option<u32> {
        let col = *self.col_of.get(x as usize)?;
        let row = *self.row_of.get(y as usize)?;
        Some(self.labels[row? * self.cols + col?])
    }

    /// The pixels of one token.
    pub fn mask(&self, token: u32) -> Mask {
        let row = |y| (0..self.width()).map(move |x| self.get(x, y) == Some(token));
        Mask { width: self.width(), height: self.height(), bits: (0..self.height()).flat_map(row).collect() }
    }
}

/// Nearest patch of each of `length` pixels, by the pixel's centre.
fn patch_of(length: u32, start: f64, extent: f64, patches: usize) -> Vec<Option<usize>> {
    let patch = |pixel: u32| {
        let at = ((f64::from(pixel) + 0.5 - start) / extent * patches as f64).floor();
        (at >= 0.0 && at < patches as f64).then_some(at as usize)
    };
    (0..length).map(patch).collect()
}

/// Some pixels of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    width: u32,
    height: u32,
    /// `[height, width]`
    bits: Vec<bool>,
}

impl Mask {
    /// A mask from `height` rows of `width` flags.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] when the number of flags is not `width * height`.
    pub fn new(bits: Vec<bool>, width: u32, height: u32) -> Result<Self> {
        if bits.len() as u64 != u64::from(width) * u64::from(height) {
            return Err(Error::Setting(format!("{} flags do not fill {width} x {height} pixels", bits.len())));
        }
        Ok(Self { width, height, bits })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// One flag per pixel: `height` rows of `width`.
    pub fn bits(&self) -> &[bool] {
        &self.bits
    }

    /// How many pixels are in the mask.
    pub fn area(&self) -> usize {
        self.bits.iter().filter(|&&bit| bit).count()
    }

    /// A grey 8-bit PNG: 255 in the mask, 0 elsewhere.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] when the mask has no pixels.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let values: Vec<u8> = self.bits.iter().map(|&bit| if bit { 255 } else { 0 }).collect();
        png_from(&values, self.width, self.height, L8)
    }

    /// The mask as run lengths.
    pub fn to_rle(&self) -> Rle {
        let mut counts = vec![0];
        let mut inside = false;
        for &bit in &self.bits {
            if bit != inside {
                counts.push(0);
                inside = bit;
            }
            *counts.last_mut().expect("starts with one run") += 1;
        }
        Rle { width: self.width, height: self.height, counts }
    }
}

/// A mask as run lengths: pixels outside, inside, outside, ... in turn, starting with a run outside that may be 0.
/// As COCO's uncompressed form, but **row by row** (COCO counts column by column), as the labels are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rle {
    pub width: u32,
    pub height: u32,
    pub counts: Vec<u32>,
}

impl Rle {
    /// The mask again.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] when the runs do not add up to `width * height`; [`Error::ImageTooLarge`] or
    /// [`Error::ImageDecode`] when that is more than a picture may have, or nothing.
    pub fn to_mask(&self) -> Result<Mask> {
        check_size(self.width, self.height)?;
        let pixels: u64 = self.counts.iter().map(|&count| u64::from(count)).sum();
        if pixels != u64::from(self.width) * u64::from(self.height) {
            return Err(Error::Setting(format!(
                "runs of {pixels} pixels do not fill {} x {} pixels",
                self.width, self.height
            )));
        }
        let run = |(index, &count): (usize, &u32)| std::iter::repeat_n(index % 2 == 1, count as usize);
        Ok(Mask {
            width: self.width,
            height: self.height,
            bits: self.counts.iter().enumerate().flat_map(run).collect(),
        })
    }
}

/// How an [`overlay`] looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverlayStyle {
    /// How much of the token's colour covers the picture: 0.0 (none) to 1.0 (all).
    pub opacity: f32,
    /// Width of the lines between regions, in pixels of the original picture: 0, 1 or 2.
    pub border: u32,
}

impl Default for OverlayStyle {
    fn default() -> Self {
        Self { opacity: 0.5, border: 2 }
    }
}

/// Lays each token's [`palette`] colour over its region, with a line of the full colour along region borders. Pixels
/// outside the crop stay as they are.
///
/// # Errors
///
/// [`Error::Setting`] when the map is not of the picture's size, the opacity is not in `0.0..=1.0` or the border is
/// wider than 2.
pub fn overlay(picture: &Picture, map: &LabelMap, style: OverlayStyle) -> Result<Picture> {
    if (picture.width(), picture.height()) != (map.width(), map.height()) {
        return Err(Error::Setting("the labels are those of a picture of another size".into()));
    }
    if !(0.0..=1.0).contains(&style.opacity) || style.border > 2 {
        return Err(Error::Setting(format!(
            "an overlay takes an opacity of 0 to 1 and a border of 0 to 2, got {style:?}"
        )));
    }
    let mut rgb = picture.rgb().to_vec();
    for (pixel, at) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(0u64..) {
        let (x, y) = ((at % u64::from(map.width())) as u32, (at / u64::from(map.width())) as u32);
        let Some(token) = map.get(x, y) else { continue };
        let opacity = if on_border(map, x, y, style.border) { 1.0 } else { style.opacity };
        for (value, colour) in pixel.iter_mut().zip(palette(token)) {
            *value = (f32::from(*value) * (1.0 - opacity) + f32::from(colour) * opacity).round() as u8;
        }
    }
    Picture::from_rgb(rgb, picture.width(), picture.height())
}

/// Whether the pixel belongs to a line between two tokens: with the pixel to its right or below when the line is 1
/// wide, on both sides of the edge when it is 2 wide.
fn on_border(map: &LabelMap, x: u32, y: u32, width: u32) -> bool {
    let differs = |x: u32, y: u32, here: u32| map.get(x, y).is_some_and(|there| there != here);
    let Some(here) = map.get(x, y) else { return false };
    let after = || differs(x + 1, y, here) || differs(x, y + 1, here);
    let before = || differs(x.wrapping_sub(1), y, here) || differs(x, y.wrapping_sub(1), here);
    (width >= 1 && after()) || (width >= 2 && before())
}

/// A picture of `size` by `size` pixels from values in `-1.0..=1.0`, values beyond cut off.
///
/// # Shapes
///
/// - pixels: `[3, S, S]`, channel by channel
///
/// # Errors
///
/// [`Error::Setting`] when the values do not fill the shape, [`Error::NotFinite`] with the pixel row of the first value
/// that is not a number.
pub fn picture_from_pixels(pixels: &[f32], size: usize) -> Result<Picture> {
    if !(1..=MAX_SIZE).contains(&size) || pixels.len() != 3 * size * size {
        return Err(Error::Setting(format!("{} values do not make a picture of {size} x {size}", pixels.len())));
    }
    if let Some(at) = pixels.iter().position(|value| value.is_nan()) {
        return Err(Error::NotFinite { row: at / size % size });
    }
    let plane = size * size;
    let value = |at: usize| ((pixels[at].clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8;
    let rgb = (0..plane).flat_map(|at| [value(at), value(at + plane), value(at + 2 * plane)]).collect();
    Picture::from_rgb(rgb, size as u32, size as u32)
}

/// Puts the square picture back into the frame of the original, `width` by `height` pixels, of which it covers `crop`.
/// What the square does not cover becomes [`PAD`](crate::preprocess::PAD) grey.
///
/// # Errors
///
/// [`Error::ImageTooLarge`] or [`Error::ImageDecode`] when the frame is too large or empty.
pub fn frame_from_square(square: &Picture, crop: &Crop, width: u32, height: u32) -> Result<Picture> {
    check_size(width, height)?;
    let (left, top) = crop.square_from_original(0.0, 0.0);
    let (right, bottom) = crop.square_from_original(width.into(), height.into());
    let (across, down) = (f64::from(square.width()), f64::from(square.height()));
    let window =
        Crop { x: left * across, y: top * down, width: (right - left) * across, height: (bottom - top) * down };
    Ok(resample(square, &window, width, height))
}

/// The picture as a PNG file.
///
/// # Errors
///
/// [`Error::Setting`] when it cannot be encoded.
pub fn png_from_picture(picture: &Picture) -> Result<Vec<u8>> {
    png_from(picture.rgb(), picture.width(), picture.height(), Rgb8)
}

fn png_from(values: &[u8], width: u32, height: u32, color: ExtendedColorType) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    PngEncoder::new(&mut file)
        .write_image(values, width, height, color)
        .map_err(|error| Error::Setting(format!("the PNG cannot be written: {error}")))?;
    Ok(file)
}
