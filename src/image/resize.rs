//! Resizing with antialiasing, as Pillow does it.

use super::preprocess::Crop;
use super::{Image, check_size};
use crate::Result;

/// What [`ResizeMode::Pad`](super::preprocess::ResizeMode::Pad) puts beside the image: CSS `gray`, within half a step of zero once normalised.
pub const PAD: u8 = 128;

/// Fixed-point bits of a weight: Pillow's number, so that rounding agrees.
const WEIGHT_BITS: u32 = 22;

/// Draws `window` of `image` (in its pixels) as `width` by `height` pixels, antialiased; [`PAD`] where the window
/// reaches beyond the image.
pub(crate) fn resample(image: &Image, window: &Crop, width: u32, height: u32) -> Image {
    let across = Axis { length: image.width as usize, start: window.x, extent: window.width, outputs: width as usize };
    let down = Axis { length: image.height as usize, start: window.y, extent: window.height, outputs: height as usize };
    // Rows first, as Pillow; but for a tall strip that would make an image larger than both ends.
    let rgb = if across.outputs > across.length && down.outputs < down.length {
        resample_rows(&resample_columns(&image.rgb, &down), &across)
    } else {
        resample_columns(&resample_rows(&image.rgb, &across), &down)
    };
    Image { width, height, rgb }
}

/// `[h, across.length, 3]` -> `[h, across.outputs, 3]`.
fn resample_rows(rgb: &[u8], across: &Axis) -> Vec<u8> {
    let (stride, out_stride) = (across.length * 3, across.outputs * 3);
    let mut out = vec![0; rgb.len() / stride * out_stride];
    let mut taps = Taps::default();
    for index in 0..across.outputs {
        across.taps(index, &mut taps);
        for (row, out_row) in rgb.chunks_exact(stride).zip(out.chunks_exact_mut(out_stride)) {
            let mut sums = [taps.outside(); 3];
            for (pixel, weight) in row[taps.first * 3..].as_chunks::<3>().0.iter().zip(&taps.weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += weight * i32::from(*value);
                }
            }
            for (value, sum) in out_row[index * 3..].iter_mut().zip(sums) {
                *value = value_from_sum(sum);
            }
        }
    }
    out
}

/// `[down.length, w, 3]` -> `[down.outputs, w, 3]`.
fn resample_columns(rgb: &[u8], down: &Axis) -> Vec<u8> {
    let stride = rgb.len() / down.length;
    let mut out = Vec::with_capacity(down.outputs * stride);
    let mut sums = vec![0; stride];
    let mut taps = Taps::default();
    for index in 0..down.outputs {
        down.taps(index, &mut taps);
        sums.fill(taps.outside());
        for (row, weight) in rgb[taps.first * stride..].chunks_exact(stride).zip(&taps.weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += weight * i32::from(*value);
            }
        }
        out.extend(sums.iter().map(|&sum| value_from_sum(sum)));
    }
    out
}

fn value_from_sum(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// One direction of a resize: `outputs` pixels spread evenly over `extent` input pixels from `start` on, out of an
/// input of `length` pixels.
struct Axis {
    length: usize,
    start: f64,
    extent: f64,
    outputs: usize,
}

/// The inputs that make one output: `weights` of the pixels from `first` on, and the weight of what lies `beyond`.
#[derive(Default)]
struct Taps {
    first: usize,
    weights: Vec<i32>,
    beyond: i32,
}

impl Taps {
    /// What a sum starts from: one half for rounding, and the padding.
    fn outside(&self) -> i32 {
        (1 << (WEIGHT_BITS - 1)) + self.beyond * i32::from(PAD)
    }
}

impl Axis {
    /// A triangle, two outputs wide (two inputs when enlarging), centred on the output. Where the window stays within
    /// the input, the triangle is cut off at the edge of the input; else it sees padding.
    fn taps(&self, index: usize, taps: &mut Taps) {
        let scale = self.extent / self.outputs as f64;
        let reach = scale.max(1.0);
        let centre = self.start + (index as f64 + 0.5) * scale;
        let length = self.length as f64;
        let low = (centre - reach + 0.5).floor().max(self.start.min(0.0).floor());
        let high = (centre + reach + 0.5).floor().min((self.start + self.extent).max(length).ceil());

        taps.weights.clear();
        if !(high > 0.0 && low < length) {
            (taps.first, taps.beyond) = (0, 1 << WEIGHT_BITS); // nothing but padding
            return;
        }
        let (low, high) = (low as i64, high as i64);
        let (first, end) = (low.max(0), high.min(self.length as i64));
        let weight = |at: i64| (1.0 - ((at as f64 - centre + 0.5) / reach).abs()).max(0.0);
        let beyond: f64 = (low..first).chain(end..high).map(weight).sum();
        let total: f64 = (first..end).map(weight).sum::<f64>() + beyond;
        let fixed = |weight: f64| (0.5 + weight / total * f64::from(1 << WEIGHT_BITS)) as i32;
        taps.first = first as usize;
        taps.weights.extend((first..end).map(|at| fixed(weight(at))));
        taps.beyond = if beyond > 0.0 { fixed(beyond) } else { 0 };
    }
}

/// Puts the square image back into the frame of the original, `width` by `height` pixels, of which it covers `crop`.
/// What the square does not cover becomes [`PAD`] grey.
///
/// # Errors
///
/// [`Error::ImageTooLarge`](crate::Error::ImageTooLarge) or [`Error::ImageDecode`](crate::Error::ImageDecode) when the frame is too large or empty.
pub fn frame_from_square(square: &Image, crop: &Crop, width: u32, height: u32) -> Result<Image> {
    check_size(width, height)?;
    let (left, top) = crop.square_from_original(0.0, 0.0);
    let (right, bottom) = crop.square_from_original(width.into(), height.into());
    let (across, down) = (f64::from(square.width()), f64::from(square.height()));
    let window =
        Crop { x: left * across, y: top * down, width: (right - left) * across, height: (bottom - top) * down };
    Ok(resample(square, &window, width, height))
}
