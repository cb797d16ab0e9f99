//! Changes of an image's pixels that a mask allows, at full size. Pixels of which the mask means nothing stay as they are, bit
//! for bit, but for a rim around what is removed.

mod blur;
mod inpaint;
mod oklab;
mod patches;
mod recolor;
#[cfg(test)]
mod tests;

use image::ExtendedColorType::Rgba8;

use super::soft_mask::SoftMask;
use super::{Image, encode_png, png_from_image};
use crate::{Error, Result};

/// What is done to the pixels that are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Filled from what surrounds them. Takes up to two [rims](SoftMask::rim) more than the mask, where the thing still shines
    /// through.
    Remove,
    /// Another colour, with the shades of the old one.
    Recolor([u8; 3]),
    /// One colour all over.
    Fill([u8; 3]),
    /// So blurred that a face in them is nobody's.
    Blur,
    /// Blocks, as coarse.
    Pixelate,
    /// Without colour.
    Grey,
    /// Lighter, black and white staying as they are.
    Brighten,
    /// Darker, likewise.
    Darken,
    /// All others become transparent.
    CutOut,
}

/// An image that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditedImage {
    /// Of the source's size.
    pub image: Image,
    /// How opaque each pixel is, where not all of them are.
    pub alpha: Option<SoftMask>,
}

/// Changes the pixels of `mask`. `is_backdrop` says that they are what lies around a thing rather than a thing: blur and
/// blocks are then in proportion to the image.
///
/// # Errors
///
/// [`Error::NothingToEdit`] when the mask is empty, or means everything where it shall be removed; [`Error::Setting`] when it
/// is not of the image's size.
pub fn edit(image: &Image, mask: &SoftMask, change: Change, is_backdrop: bool) -> Result<EditedImage> {
    if (image.width(), image.height()) != (mask.width(), mask.height()) {
        return Err(Error::Setting("the mask is that of a picture of another size".into()));
    }
    let bounds = mask.bounds().ok_or(Error::NothingToEdit("no pixel of the picture is meant"))?;
    // The size of what must not be recognised, in pixels.
    let extent = if is_backdrop { image.width().max(image.height()) / 12 } else { bounds.width.min(bounds.height) };
    let image = match change {
        Change::CutOut => return Ok(EditedImage { image: image.clone(), alpha: Some(mask.clone()) }),
        Change::Remove => inpaint::remove(image, mask)?,
        Change::Recolor(color) => recolor::recolor(image, mask, color),
        Change::Fill(color) => repaint(image, mask, |_, _| color),
        Change::Blur => blur::blur(image, mask, extent as f32 / 6.0),
        Change::Pixelate => blur::pixelate(image, mask, &bounds, (extent / 8).max(2)),
        Change::Grey => repaint(image, mask, |_, pixel| recolor::grey(pixel)),
        Change::Brighten => expose(image, mask, 0.65),
        Change::Darken => expose(image, mask, 1.6),
    };
    Ok(EditedImage { image, alpha: None })
}

/// Values to a power, 1 being the brightest: black and white stay, and nothing is cut off.
fn expose(image: &Image, mask: &SoftMask, power: f32) -> Image {
    let table: [u8; 256] = std::array::from_fn(|value| ((value as f32 / 255.0).powf(power) * 255.0).round() as u8);
    repaint(image, mask, |_, pixel| pixel.map(|value| table[usize::from(value)]))
}

/// The image with the colours that `color` has for a pixel's place in the row-by-row order and its old colour, as far as the
/// pixel is meant.
fn repaint(image: &Image, mask: &SoftMask, mut color: impl FnMut(usize, [u8; 3]) -> [u8; 3]) -> Image {
    let mut changed = image.clone();
    for (at, (pixel, &alpha)) in changed.rgb.as_chunks_mut::<3>().0.iter_mut().zip(mask.alpha()).enumerate() {
        if alpha > 0 {
            let new = color(at, *pixel);
            for (old, new) in pixel.iter_mut().zip(new) {
                let (alpha, sum) = (u32::from(alpha), 255 * u32::from(*old));
                *old = ((sum + alpha * u32::from(new) - alpha * u32::from(*old) + 127) / 255) as u8;
            }
        }
    }
    changed
}

/// `height` rows of `width` pixels of red, green, blue and straight alpha. What is transparent has no colour: whoever gets a
/// cut-out does not get what was around it.
pub fn rgba_from_image(image: &Image, alpha: Option<&SoftMask>) -> Vec<u8> {
    let Some(mask) = alpha else { return image.to_rgba() };
    let pixels = image.rgb().as_chunks::<3>().0.iter().zip(mask.alpha());
    pixels.flat_map(|(&[r, g, b], &alpha)| if alpha == 0 { [0; 4] } else { [r, g, b, alpha] }).collect()
}

/// A PNG, with transparency where there is any.
///
/// # Errors
///
/// [`Error::Setting`] when it cannot be encoded.
pub fn png_with_alpha(image: &Image, alpha: Option<&SoftMask>) -> Result<Vec<u8>> {
    match alpha {
        None => png_from_image(image),
        Some(_) => encode_png(&rgba_from_image(image, alpha), image.width(), image.height(), Rgba8),
    }
}

impl EditedImage {
    /// A PNG, with transparency where there is any.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] when it cannot be encoded.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        png_with_alpha(&self.image, self.alpha.as_ref())
    }
}
