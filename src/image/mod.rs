//! Images in and out: files -> [`Image`] -> the encoder's square; masks, overlays and files back.

mod decode;
pub mod edit;
mod kinds;
pub mod masks;
pub mod overlay;
pub mod palette;
mod planes;
pub mod preprocess;
pub mod refine;
pub mod resize;
pub mod soft_mask;

use image::ExtendedColorType::{self, Rgb8};
use image::ImageEncoder;
use image::codecs::png::PngEncoder;

use crate::limits::{MAX_MEGAPIXELS, MAX_SQUARE_SIZE};
use crate::{Error, Result};

/// An upright image without transparency: 8 bits each of red, green and blue, row by row from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Image {
    /// An image from `height` rows of `width` pixels of red, green and blue.
    ///
    /// # Errors
    ///
    /// [`Error::ImageDecode`] when the number of bytes is not `width * height * 3` or is zero,
    /// [`Error::ImageTooLarge`] over [`MAX_MEGAPIXELS`].
    pub fn from_rgb(rgb: Vec<u8>, width: u32, height: u32) -> Result<Self> {
        check_buffer(&rgb, width, height, 3)?;
        Ok(Self { width, height, rgb })
    }

    /// An image from `height` rows of `width` pixels of red, green, blue and (straight) alpha, as a canvas gives
    /// them; laid over white.
    ///
    /// # Errors
    ///
    /// [`Error::ImageDecode`] when the number of bytes is not `width * height * 4` or is zero,
    /// [`Error::ImageTooLarge`] over [`MAX_MEGAPIXELS`].
    pub fn from_rgba(rgba: &[u8], width: u32, height: u32) -> Result<Self> {
        check_buffer(rgba, width, height, 4)?;
        Ok(Self { width, height, rgb: over_white(rgba) })
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels: `height` rows of `width` times red, green, blue.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The pixels with an opaque alpha, as a canvas takes them.
    pub fn to_rgba(&self) -> Vec<u8> {
        self.rgb.as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [r, g, b, u8::MAX]).collect()
    }
}

pub(crate) fn check_size(width: u32, height: u32) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(Error::ImageDecode(format!("it has no pixels ({width} x {height})")));
    }
    if u64::from(width) * u64::from(height) > u64::from(MAX_MEGAPIXELS) * 1_000_000 {
        return Err(Error::ImageTooLarge { width, height, limit: MAX_MEGAPIXELS });
    }
    Ok(())
}

fn check_buffer(bytes: &[u8], width: u32, height: u32, channels: usize) -> Result<()> {
    check_size(width, height)?;
    let want = width as usize * height as usize * channels; // no overflow: the size is within its limit
    if bytes.len() != want {
        return Err(Error::ImageDecode(format!(
            "{width} x {height} pixels of {channels} channels take {want} bytes, got {}",
            bytes.len()
        )));
    }
    Ok(())
}

/// RGBA over white -> RGB, rounded to the nearest.
fn over_white(rgba: &[u8]) -> Vec<u8> {
    let blend = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    rgba.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, a]| [blend(r, a), blend(g, a), blend(b, a)]).collect()
}

/// An image of `size` by `size` pixels from values in `-1.0..=1.0`, values beyond cut off.
///
/// # Shapes
///
/// - pixels: `[3, S, S]`, channel by channel
///
/// # Errors
///
/// [`Error::Setting`] when the values do not fill the shape, [`Error::NotFinite`] with the pixel row of the first value
/// that is not a number.
pub fn image_from_pixels(pixels: &[f32], size: usize) -> Result<Image> {
    if !(1..=MAX_SQUARE_SIZE).contains(&size) || pixels.len() != 3 * size * size {
        return Err(Error::Setting(format!("{} values do not make a picture of {size} x {size}", pixels.len())));
    }
    if let Some(at) = pixels.iter().position(|value| value.is_nan()) {
        return Err(Error::NotFinite { what: "pixels", row: at / size % size });
    }
    let plane = size * size;
    let value = |at: usize| ((pixels[at].clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8;
    let rgb = (0..plane).flat_map(|at| [value(at), value(at + plane), value(at + 2 * plane)]).collect();
    Image::from_rgb(rgb, size as u32, size as u32)
}

/// The image as a PNG file.
///
/// # Errors
///
/// [`Error::Setting`] when it cannot be encoded.
pub fn png_from_image(image: &Image) -> Result<Vec<u8>> {
    encode_png(image.rgb(), image.width(), image.height(), Rgb8)
}

fn encode_png(values: &[u8], width: u32, height: u32, color: ExtendedColorType) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    PngEncoder::new(&mut file)
        .write_image(values, width, height, color)
        .map_err(|error| Error::Setting(format!("the PNG cannot be written: {error}")))?;
    Ok(file)
}
