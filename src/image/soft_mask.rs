//! How much of each pixel is meant: a mask with a rim.

use image::ExtendedColorType::L8;

use super::encode_png;
use super::masks::Mask;
use crate::{Error, Result};

/// Some pixels of an image, and at their rim shares of pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoftMask {
    width: u32,
    height: u32,
    /// `[height, width]`, 255 for a pixel that is meant altogether
    alpha: Vec<u8>,
}

impl SoftMask {
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
