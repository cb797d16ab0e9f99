//! Labels as colours over the image.

use super::Image;
use super::masks::LabelMap;
use super::palette::palette;
use crate::{Error, Result};

/// How an [`overlay`] looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverlayStyle {
    /// How much of the token's colour covers the image: 0.0 (none) to 1.0 (all).
    pub opacity: f32,
    /// Width of the lines between regions, in pixels of the original image: 0, 1 or 2.
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
/// [`Error::Setting`] when the map is not of the image's size, the opacity is not in `0.0..=1.0` or the border is
/// wider than 2.
pub fn overlay(image: &Image, map: &LabelMap, style: OverlayStyle) -> Result<Image> {
    if (image.width(), image.height()) != (map.width(), map.height()) {
        return Err(Error::Setting("the labels are those of a picture of another size".into()));
    }
    if !(0.0..=1.0).contains(&style.opacity) || style.border > 2 {
        return Err(Error::Setting(format!(
            "an overlay takes an opacity of 0 to 1 and a border of 0 to 2, got {style:?}"
        )));
    }
    let mut rgb = image.rgb().to_vec();
    for (pixel, at) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(0u64..) {
        let (x, y) = ((at % u64::from(map.width())) as u32, (at / u64::from(map.width())) as u32);
        let Some(token) = map.get(x, y) else { continue };
        let opacity = if on_border(map, x, y, style.border) { 1.0 } else { style.opacity };
        for (value, colour) in pixel.iter_mut().zip(palette(token)) {
            *value = (f32::from(*value) * (1.0 - opacity) + f32::from(colour) * opacity).round() as u8;
        }
    }
    Image::from_rgb(rgb, image.width(), image.height())
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
