//! Which pixels of an image are meant: labels of patches spread over the pixels, and masks.

use image::ExtendedColorType::L8;
use serde::{Deserialize, Serialize};

use super::preprocess::Crop;
use super::{check_size, encode_png};
use crate::{Error, Result};

/// The token of every pixel of the original image, by the patch that the pixel lies in. Looked up rather than
/// stored: a map of a 64-megapixel image takes no more than its edges.
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
    /// Spreads the labels of `grid` `[rows, cols]` (row-major, one per patch) over an image of `width` by `height`
    /// pixels, of which the grid covers `crop`.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] when the labels do not fill the grid, or grid, crop or image is empty.
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

    /// Width of the image in pixels.
    pub fn width(&self) -> u32 {
        self.col_of.len() as u32
    }

    /// Height of the image in pixels.
    pub fn height(&self) -> u32 {
        self.row_of.len() as u32
    }

    /// The token of the pixel in column `x` of row `y`; none outside the crop or the image.
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

/// Some pixels of an image.
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

    /// Left, top, right and bottom edge of the pixels in the mask; none where there are none.
    pub fn bounds(&self) -> Option<[u32; 4]> {
        let width = self.width.max(1) as usize;
        let inside = || (0..self.bits.len()).filter(|&at| self.bits[at]);
        let (first, last) = (inside().next()?, inside().next_back()?);
        let columns = || inside().map(|at| at % width);
        let (left, right) = (columns().min()?, columns().max()?);
        Some([left as u32, (first / width) as u32, right as u32 + 1, (last / width) as u32 + 1])
    }

    /// A grey 8-bit PNG: 255 in the mask, 0 elsewhere.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] when the mask has no pixels.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let values: Vec<u8> = self.bits.iter().map(|&bit| if bit { 255 } else { 0 }).collect();
        encode_png(&values, self.width, self.height, L8)
    }

    /// The mask as run lengths.
    pub fn to_rle(&self) -> Rle {
        let (width, height) = (self.width as usize, self.height as usize);
        let mut counts = vec![0];
        let mut inside = false;
        for bit in (0..width).flat_map(|x| (0..height).map(move |y| self.bits[y * width + x])) {
            if bit != inside {
                counts.push(0);
                inside = bit;
            }
            *counts.last_mut().expect("starts with one run") += 1;
        }
        Rle { size: [self.height, self.width], counts }
    }
}

/// A mask as run lengths, as COCO's uncompressed form: pixels outside, inside, outside, ... in turn, column by column from
/// the left, starting with a run outside that may be 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rle {
    /// Height, then width, in pixels.
    pub size: [u32; 2],
    /// Lengths of the runs.
    pub counts: Vec<u32>,
}

impl Rle {
    /// The mask again.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] when the runs do not add up to the size; [`Error::ImageTooLarge`] or [`Error::ImageDecode`] when
    /// that is more than an image may have, or nothing.
    pub fn to_mask(&self) -> Result<Mask> {
        let [height, width] = self.size;
        check_size(width, height)?;
        let pixels: u64 = self.counts.iter().map(|&count| u64::from(count)).sum();
        if pixels != u64::from(width) * u64::from(height) {
            return Err(Error::Setting(format!("runs of {pixels} pixels do not fill {width} x {height} pixels")));
        }
        let mut bits = vec![false; pixels as usize];
        let mut at = 0;
        for (index, &count) in self.counts.iter().enumerate() {
            for place in at..at + count as usize {
                bits[place % height as usize * width as usize + place / height as usize] = index % 2 == 1;
            }
            at += count as usize;
        }
        Ok(Mask { width, height, bits })
    }
}
