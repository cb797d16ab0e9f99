//! Resizing with antialiasing, as Pillow does it.

use super::preprocess::{Crop, ResizeFilter};
use super::{Image, check_size};
use crate::Result;

/// What [`ResizeMode::Pad`](super::preprocess::ResizeMode::Pad) puts beside the image: CSS `gray`, within half a step of zero once normalised.
pub const PAD: u8 = 128;

/// Fixed-point bits of a weight: Pillow's number, so that rounding agrees.
const WEIGHT_BITS: u32 = 22;

/// Draws `window` of `image` (in its pixels) as `width` by `height` pixels, antialiased; [`PAD`] where the window
/// reaches beyond the image.
pub(crate) fn resample(image: &Image, window: &Crop, width: u32, height: u32, filter: ResizeFilter) -> Image {
    let (length, outputs) = (image.width as usize, width as usize);
    let across = Axis { length, start: window.x, extent: window.width, outputs, filter };
    let (length, outputs) = (image.height as usize, height as usize);
    let down = Axis { length, start: window.y, extent: window.height, outputs, filter };
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
    let all_taps: Vec<Taps> = (0..across.outputs).map(|index| across.taps(index)).collect();
    for (row, out_row) in rgb.chunks_exact(stride).zip(out.chunks_exact_mut(out_stride)) {
        for (taps, out) in all_taps.iter().zip(out_row.as_chunks_mut::<3>().0) {
            let mut sums = [taps.outside(); 3];
            for (pixel, weight) in row[taps.first * 3..].as_chunks::<3>().0.iter().zip(&taps.weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += weight * i32::from(*value);
                }
            }
            *out = sums.map(value_from_sum);
        }
    }
    out
}

/// `[down.length, w, 3]` -> `[down.outputs, w, 3]`.
fn resample_columns(rgb: &[u8], down: &Axis) -> Vec<u8> {
    let stride = rgb.len() / down.length;
    let mut out = Vec::with_capacity(down.outputs * stride);
    let mut sums = vec![0; stride];
    for index in 0..down.outputs {
        let taps = down.taps(index);
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
    filter: ResizeFilter,
}

/// The inputs that make one output: `weights` of the pixels from `first` on, and the weight of what lies `beyond`.
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
    /// The filter, as wide as outputs are (as inputs when enlarging), centred on the output. Where the window stays within
    /// the input, the filter is cut off at the edge of the input; else it sees padding.
    fn taps(&self, index: usize) -> Taps {
        let scale = self.extent / self.outputs as f64;
        let step = scale.max(1.0);
        let reach = self.filter.reach() * step;
        let centre = self.start + (index as f64 + 0.5) * scale;
        let length = self.length as f64;
        let low = (centre - reach + 0.5).floor().max(self.start.min(0.0).floor());
        let high = (centre + reach + 0.5).floor().min((self.start + self.extent).max(length).ceil());

        if !(high > 0.0 && low < length) {
            return Taps { first: 0, weights: Vec::new(), beyond: 1 << WEIGHT_BITS }; // nothing but padding
        }
        let (low, high) = (low as i64, high as i64);
        let (first, end) = (low.max(0), high.min(self.length as i64));
        let weight = |at: i64| self.filter.weight((at as f64 - centre + 0.5) / step);
        let beyond: f64 = (low..first).chain(end..high).map(weight).sum();
        let total: f64 = (first..end).map(weight).sum::<f64>() + beyond;
        let fixed = |weight: f64| {
            let exact = weight / total * f64::from(1 << WEIGHT_BITS);
            (exact + 0.5f64.copysign(exact)) as i32
        };
        Taps {
            first: first as usize,
            weights: (first..end).map(|at| fixed(weight(at))).collect(),
            beyond: if beyond == 0.0 { 0 } else { fixed(beyond) },
        }
    }
}

impl ResizeFilter {
    /// Half its width, where pixels are one wide.
    fn reach(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// The weight of what is `x` away: a triangle, or Keys' cubic with `a` = -0.5.
    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bicubic => 0.0,
        }
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
    Ok(resample(square, &window, width, height, ResizeFilter::Bilinear))
}
