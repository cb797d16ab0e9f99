//! [`Image`] -> the encoder's square input `[3, S, S]`, remembering which part of the image the square covers ([`Crop`]), so
//! that a mask can be mapped back.

use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::Image;
use super::resize::resample;
use crate::limits::MAX_SQUARE_SIZE;
use crate::{Error, Result};

/// How an image becomes square.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeMode {
    /// The whole image, its proportions given up.
    #[default]
    Squash,
    /// The largest square in the middle.
    Crop,
    /// The smallest square around it, filled up with [`PAD`](super::resize::PAD).
    Pad,
}

/// How pixels are weighed in a resize, antialiased: the filter is as wide as the pixels of the smaller image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeFilter {
    #[default]
    /// Two pixels each way, more where the image is made smaller.
    Bilinear,
    /// Four pixels each way, more where the image is made smaller; may overshoot at edges.
    Bicubic,
}

/// Per channel: `(value / 255 - mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// What is subtracted, of values in [0, 1].
    pub mean: [f32; 3],
    /// What the rest is divided by; positive.
    pub std: [f32; 3],
}

impl Default for Normalisation {
    /// `value / 127.5 - 1`: ours, and SigLIP's.
    fn default() -> Self {
        Self { mean: [0.5; 3], std: [0.5; 3] }
    }
}

impl Normalisation {
    /// What each of the 256 values of each channel becomes, rounded once.
    fn table(&self) -> Result<[[f32; 256]; 3]> {
        let fits = |mean: f32, std: f32| mean.is_finite() && std.is_finite() && std > 0.0;
        if !(0..3).all(|c| fits(self.mean[c], self.std[c])) {
            return Err(Error::Config(format!(
                "normalisation needs finite means and positive standard deviations, got mean {:?} and std {:?}",
                self.mean, self.std
            )));
        }
        Ok(std::array::from_fn(|c| {
            let (mean, std) = (f64::from(self.mean[c]), f64::from(self.std[c]));
            std::array::from_fn(|value| ((value as f64 / 255.0 - mean) / std) as f32)
        }))
    }
}

/// The part of the original image that the square covers, in original pixels. It reaches beyond the image when
/// the square was padded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Crop {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Columns of pixels.
    pub width: f64,
    /// Rows of pixels.
    pub height: f64,
}

impl Crop {
    /// What `mode` keeps of an image. Corners fall on whole pixels, so that a square image is never resampled
    /// without need.
    pub fn new(mode: ResizeMode, width: u32, height: u32) -> Self {
        let side = match mode {
            ResizeMode::Squash => {
                return Self { x: 0.0, y: 0.0, width: width.into(), height: height.into() };
            }
            ResizeMode::Crop => width.min(height),
            ResizeMode::Pad => width.max(height),
        };
        let side = f64::from(side);
        let start = |length: u32| ((f64::from(length) - side) / 2.0).trunc() + 0.0; // + 0.0: no negative zero in JSON
        Self { x: start(width), y: start(height), width: side, height: side }
    }

    /// Where a point of the square, `0.0..=1.0` across and down, lies in the original image.
    pub fn original_from_square(&self, across: f64, down: f64) -> (f64, f64) {
        (self.x + across * self.width, self.y + down * self.height)
    }

    /// Where a point of the original image lies in the square; outside `0.0..=1.0` when the square does not cover it.
    pub fn square_from_original(&self, x: f64, y: f64) -> (f64, f64) {
        ((x - self.x) / self.width, (y - self.y) / self.height)
    }
}

/// The encoder's input, and how to come back from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocessed {
    /// Normalised values `[3, S, S]`, channel by channel.
    pub pixels: Vec<f32>,
    /// The side `S` in pixels.
    pub size: usize,
    /// The part of the original image that the square covers.
    pub crop: Crop,
    /// Width of the original image in pixels.
    pub width: u32,
    /// Height of the original image in pixels.
    pub height: u32,
}

impl Preprocessed {
    /// The input as a batch of one.
    ///
    /// # Shapes
    ///
    /// - output: `[1, 3, S, S]`, 32-bit floats
    pub fn to_tensor(&self, device: &Device) -> Tensor<4> {
        let data = TensorData::new(self.pixels.clone(), [1, 3, self.size, self.size]);
        Tensor::from_data(data, (device, DType::F32))
    }
}

/// Makes an image square, `size` by `size` pixels, and normalises it.
///
/// Resized as Pillow's `Image.resize` with the same filter, antialiased, and equal to it to the bit (but for strips narrower
/// than `size` and taller, where rounding may differ by one step). An image that already is `size` by `size` keeps
/// its pixels.
///
/// # Errors
///
/// [`Error::Config`] when `size` is not in `1..=`[`MAX_SQUARE_SIZE`] or the normalisation divides by zero.
pub fn preprocess(
    image: &Image,
    size: usize,
    mode: ResizeMode,
    filter: ResizeFilter,
    normalisation: &Normalisation,
) -> Result<Preprocessed> {
    if !(1..=MAX_SQUARE_SIZE).contains(&size) {
        return Err(Error::Config(format!("the side of the input must be 1 to {MAX_SQUARE_SIZE} pixels, got {size}")));
    }
    let table = normalisation.table()?;
    let (width, height) = (image.width, image.height);
    let crop = Crop::new(mode, width, height);
    let square = resample(image, &crop, size as u32, size as u32, filter);
    let channel = |c: usize| square.rgb.iter().skip(c).step_by(3).map(move |&value| (c, value));
    let pixels = (0..3).flat_map(channel).map(|(c, value)| table[c][usize::from(value)]).collect();
    Ok(Preprocessed { pixels, size, crop, width, height })
}
