//! How much of each pixel is meant: a mask with a rim.

use image::ExtendedColorType::L8;

use super::encode_png;
use super::masks::Mask;
use super::planes::Window;
use crate::{Error, Result};

/// Some pixels of an image, and at their rim shares of pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoftMask {
    width: u32,
    height: u32,
    /// `[height, width]`, 255 for a pixel that is meant altogether
    alpha: Vec<u8>,
}

/// The smallest box around what is meant, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl SoftMask {
    /// How many pixels a rim reaches to either side of a mask's border: about 1 in 600 of the longer side.
    pub fn rim(width: u32, height: u32) -> u32 {
        (width.max(height) / 600).max(1)
    }

    /// A mask that fades over a [`SoftMask::rim`] on both sides of its border: the share of each pixel is that of the mask in the
    /// box around it.
    pub fn from_mask(mask: &Mask) -> Self {
        Self::from_flags(mask.width(), mask.height(), |at| mask.bits()[at])
    }

    fn from_flags(across: u32, down: u32, is_meant: impl Fn(usize) -> bool) -> Self {
        let (width, height, rim) = (across as usize, down as usize, Self::rim(across, down) as usize);
        let row = |y: usize| y * width..(y + 1) * width;
        let mut alpha = Vec::with_capacity(width * height);
        let mut columns = vec![0u32; width]; // pixels that are meant, of each column of the window
        let mut rows = Window::new(rim, height);
        for y in 0..height {
            let (enters, leaves) = rows.step(y);
            for (column, at) in enters.flat_map(|y| row(y).enumerate()) {
                columns[column] += u32::from(is_meant(at));
            }
            for (column, at) in leaves.into_iter().flat_map(|y| row(y).enumerate()) {
                columns[column] -= u32::from(is_meant(at));
            }
            let (mut window, mut sum) = (Window::new(rim, width), 0);
            for x in 0..width {
                let (enters, leaves) = window.step(x);
                sum += columns[enters].iter().sum::<u32>();
                sum -= leaves.map_or(0, |column| columns[column]);
                let pixels = (window.pixels(x) * rows.pixels(y)) as u32;
                // Rounded up and down so that 0 and 255 mean none and all.
                alpha.push(if sum == 0 { 0 } else { (sum * 255 / pixels).max(1) as u8 });
            }
        }
        Self { width: across, height: down, alpha }
    }

    /// Every pixel that is meant at all, the rim around them, and a rim to fade in.
    pub(crate) fn grown(&self) -> Self {
        let wider = Self::from_flags(self.width, self.height, |at| self.alpha[at] > 0);
        Self::from_flags(self.width, self.height, |at| wider.alpha[at] > 0)
    }

    /// All of an image.
    pub fn whole(width: u32, height: u32) -> Self {
        Self { width, height, alpha: vec![255; width as usize * height as usize] }
    }

    /// What is not meant by this one.
    #[must_use]
    pub fn inverted(&self) -> Self {
        Self { alpha: self.alpha.iter().map(|alpha| 255 - alpha).collect(), ..*self }
    }

    /// None when nothing is meant.
    pub(crate) fn bounds(&self) -> Option<Bounds> {
        let (mut left, mut right, mut rows) = (u32::MAX, 0, None);
        for (y, row) in (0..).zip(self.alpha.chunks_exact(self.width.max(1) as usize)) {
            let Some(first) = row.iter().position(|&alpha| alpha > 0) else { continue };
            let last = row.iter().rposition(|&alpha| alpha > 0).unwrap_or(first);
            (left, right) = (left.min(first as u32), right.max(last as u32));
            rows = Some((rows.map_or(y, |(top, _)| top), y));
        }
        rows.map(|(top, bottom)| Bounds { x: left, y: top, width: right - left + 1, height: bottom - top + 1 })
    }

    /// A mask from `height` rows of `width` shares, 0 (not meant) to 255 (all of the pixel).
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] when the number of shares is not `width * height`.
    pub fn new(alpha: Vec<u8>, width: u32, height: u32) -> Result<Self> {
        if alpha.len() as u64 != u64::from(width) * u64::from(height) {
            return Err(Error::Setting(format!("{} shares do not fill {width} x {height} pixels", alpha.len())));
        }
        Ok(Self { width, height, alpha })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// One share per pixel, 0 to 255: `height` rows of `width`.
    pub fn alpha(&self) -> &[u8] {
        &self.alpha
    }

    /// Whether no pixel is meant at all.
    pub fn is_empty(&self) -> bool {
        self.alpha.iter().all(|&alpha| alpha == 0)
    }

    /// The pixels of which at least half is meant.
    pub fn to_mask(&self) -> Mask {
        let bits = self.alpha.iter().map(|&alpha| alpha >= 128).collect();
        Mask::new(bits, self.width, self.height).expect("a flag for each share")
    }

    /// A grey 8-bit PNG of the shares.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] when the mask has no pixels.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        encode_png(&self.alpha, self.width, self.height, L8)
    }
}
