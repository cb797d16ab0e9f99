//! Another colour, or none.

use super::oklab::{color_from_oklab, linear, oklab, srgb};
use super::repaint;
use crate::image::Image;
use crate::image::soft_mask::SoftMask;

/// How far the thing's lightness goes to that of the colour: all the way, and light that falls on it would be lost.
const LIGHTNESS_SHARE: f32 = 0.75;
/// Chroma below this is no colour to the eye.
const COLORLESS: f32 = 0.04;
/// About as many pixels tell the mean colour of a thing.
const SAMPLE: usize = 100_000;

/// The thing in another colour. Its shades stay: lightness moves as a whole, and colour fades in highlights and shadows as it
/// does on real things. What is grey on a colourful thing, such as a tyre or a window, stays grey.
pub(super) fn recolor(image: &Image, mask: &SoftMask, color: [u8; 3]) -> Image {
    let [lightness, a, b] = oklab(color);
    let (mean, chroma) = mean_lightness_and_chroma(image, mask);
    let target = mean + (lightness - mean) * LIGHTNESS_SHARE;
    repaint(image, mask, |_, pixel| {
        let [l, old_a, old_b] = oklab(pixel);
        let share = if chroma < COLORLESS { 1.0 } else { smooth_step(old_a.hypot(old_b) / chroma, 0.15, 0.5) };
        // A curve through black, the mean and white, so that nothing is cut off.
        let moved =
            if l < mean { l * target / mean } else { 1.0 - (1.0 - l) * (1.0 - target) / (1.0 - mean).max(1e-3) };
        // Only shades between black and white leave room for colour.
        let room = (moved / lightness.max(1e-3)).min((1.0 - moved) / (1.0 - lightness).max(1e-3)).clamp(0.0, 1.0);
        let mix = |old: f32, new: f32| old + (new - old) * share;
        color_from_oklab([mix(l, moved), mix(old_a, a * room), mix(old_b, b * room)])
    })
}

fn mean_lightness_and_chroma(image: &Image, mask: &SoftMask) -> (f32, f32) {
    let meant = image.rgb().as_chunks::<3>().0.iter().zip(mask.alpha()).filter(|(_, alpha)| **alpha > 0);
    let step = (meant.clone().count() / SAMPLE).max(1);
    let (mut lightness, mut chroma, mut weights) = (0.0, 0.0, 0.0);
    for (&pixel, &alpha) in meant.step_by(step) {
        let ([l, a, b], weight) = (oklab(pixel), f32::from(alpha));
        lightness += l * weight;
        chroma += a.hypot(b) * weight;
        weights += weight;
    }
    ((lightness / weights).clamp(0.01, 0.99), chroma / weights)
}

fn smooth_step(value: f32, low: f32, high: f32) -> f32 {
    let share = ((value - low) / (high - low)).clamp(0.0, 1.0);
    share * share * (3.0 - 2.0 * share)
}

/// The grey that is as bright (luminance of ITU-R BT.709).
pub(super) fn grey(pixel: [u8; 3]) -> [u8; 3] {
    let [r, g, b] = linear(pixel);
    srgb([0.2126 * r + 0.7152 * g + 0.0722 * b; 3])
}
