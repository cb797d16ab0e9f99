//! A coarse mask whose rim moves to the edges of the image: the fast guided filter (He and Sun 2015,
//! <https://arxiv.org/abs/1505.00996>). In a small window the mask is taken for a multiple of the brightness and a summand;
//! both are found on a small square, and spread over all pixels.

use super::Image;
use super::masks::Mask;
use super::preprocess::{Crop, ResizeFilter};
use super::resize::resample;
use crate::Result;

/// Side of the square on which windows are looked at.
const SIDE: usize = 192;
/// How far a window reaches from its middle, in pixels of that square: two places of a mask of 48 x 48. A rim cannot move
/// farther.
const RADIUS: usize = 8;
/// Variance of brightness (0 to 1) below which there is no edge to move to.
const FLAT: f32 = 4e-4;

/// The pixels of `image` in which a thing is more likely than not. `probability` is asked at points of the square that
/// `crop` covers, `0.0..=1.0` across and down; there is nothing beyond it.
///
/// # Errors
/// What [`Mask::new`] says.
pub fn refined_mask(image: &Image, crop: &Crop, probability: impl Fn(f64, f64) -> f32) -> Result<Mask> {
    let small = resample(image, crop, SIDE as u32, SIDE as u32, ResizeFilter::Bilinear);
    let guide: Vec<f32> = small.rgb().as_chunks::<3>().0.iter().map(brightness).collect();
    let center = |i: usize| (i as f64 + 0.5) / SIDE as f64;
    let coarse: Vec<f32> = (0..SIDE * SIDE).map(|at| probability(center(at % SIDE), center(at / SIDE))).collect();
    let [slope, summand] = coefficients(&guide, &coarse);

    let columns: Vec<Option<Between>> =
        (0..image.width()).map(|x| Between::new(crop.square_from_original(f64::from(x) + 0.5, 0.0).0)).collect();
    let mut bits = Vec::with_capacity(columns.len() * image.height() as usize);
    for (y, row) in image.rgb().chunks_exact(3 * columns.len()).enumerate() {
        let Some(down) = Between::new(crop.square_from_original(0.0, y as f64 + 0.5).1) else {
            bits.extend(columns.iter().map(|_| false));
            continue;
        };
        let [slope, summand] = [&slope, &summand].map(|numbers| down.row(numbers));
        let pixels = row.as_chunks::<3>().0.iter().zip(&columns);
        bits.extend(pixels.map(|(pixel, across)| {
            across.as_ref().is_some_and(|at| at.number(&slope) * brightness(pixel) + at.number(&summand) > 0.5)
        }));
    }
    Mask::new(bits, image.width(), image.height())
}

/// Rec. 601, 0 to 1.
fn brightness(&[r, g, b]: &[u8; 3]) -> f32 {
    (0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)) / 255.0
}

/// What the guide is multiplied with, and what is added, so that the coarse mask comes out: the mean over all windows that a
/// pixel lies in.
fn coefficients(guide: &[f32], coarse: &[f32]) -> [Vec<f32>; 2] {
    let product = |a: &[f32], b: &[f32]| -> Vec<f32> { a.iter().zip(b).map(|(a, b)| a * b).collect() };
    let (mean_guide, mean_coarse) = (window_means(guide), window_means(coarse));
    let (squares, products) = (window_means(&product(guide, guide)), window_means(&product(guide, coarse)));
    let slope: Vec<f32> = (0..SIDE * SIDE)
        .map(|i| {
            let variance = (squares[i] - mean_guide[i] * mean_guide[i]).max(0.0);
            (products[i] - mean_guide[i] * mean_coarse[i]) / (variance + FLAT)
        })
        .collect();
    let summand: Vec<f32> = (0..SIDE * SIDE).map(|i| mean_coarse[i] - slope[i] * mean_guide[i]).collect();
    [window_means(&slope), window_means(&summand)]
}

/// Mean over the window around each pixel of the square, as far as it lies inside.
fn window_means(numbers: &[f32]) -> Vec<f32> {
    let rows: Vec<f32> = numbers.chunks_exact(SIDE).flat_map(running_means).collect();
    let turned = transposed(&rows);
    let columns: Vec<f32> = turned.chunks_exact(SIDE).flat_map(running_means).collect();
    transposed(&columns)
}

fn running_means(row: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0f64; SIDE + 1];
    for (i, &number) in row.iter().enumerate() {
        sums[i + 1] = sums[i] + f64::from(number);
    }
    let mean = |i: usize| {
        let (first, end) = (i.saturating_sub(RADIUS), (i + RADIUS + 1).min(SIDE));
        ((sums[end] - sums[first]) / (end - first) as f64) as f32
    };
    (0..SIDE).map(mean).collect()
}

fn transposed(numbers: &[f32]) -> Vec<f32> {
    (0..SIDE * SIDE).map(|at| numbers[at % SIDE * SIDE + at / SIDE]).collect()
}

/// A place between two of the square's pixels.
struct Between {
    first: usize,
    second: usize,
    share: f32,
}

impl Between {
    /// At a point of the square, `0.0..=1.0`; none beyond it.
    fn new(at: f64) -> Option<Self> {
        let last = SIDE - 1;
        let place = (at * SIDE as f64 - 0.5).clamp(0.0, last as f64);
        let first = place.floor() as usize;
        let between = Self { first, second: (first + 1).min(last), share: (place - first as f64) as f32 };
        (0.0..=1.0).contains(&at).then_some(between)
    }

    fn number(&self, numbers: &[f32]) -> f32 {
        numbers[self.first] + self.share * (numbers[self.second] - numbers[self.first])
    }

    /// A row of the square.
    fn row(&self, numbers: &[f32]) -> Vec<f32> {
        let [first, second] = [self.first, self.second].map(|row| &numbers[row * SIDE..][..SIDE]);
        first.iter().zip(second).map(|(a, b)| a + self.share * (b - a)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bright disc, of which the coarse mask makes a larger one with a soft rim.
    #[test]
    fn a_rim_moves_to_the_edge_of_what_is_there() {
        let (width, height) = (320, 240);
        let inside = |x: u32, y: u32| {
            let (x, y) = (f64::from(x) + 0.5 - 160.0, f64::from(y) + 0.5 - 120.0);
            x.hypot(y) < 60.0
        };
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let rgb = pixels.clone().flat_map(|(x, y)| if inside(x, y) { [220, 200, 180] } else { [30, 60, 40] }).collect();
        let image = Image::from_rgb(rgb, width, height).unwrap();
        let crop = Crop { x: 0.0, y: 0.0, width: width.into(), height: height.into() };
        let coarse = |across: f64, down: f64| {
            let distance = ((across - 0.5) * f64::from(width)).hypot((down - 0.5) * f64::from(height));
            (1.0 / (1.0 + ((distance - 65.0) / 4.0).exp())) as f32
        };
        let mask = refined_mask(&image, &crop, coarse).unwrap();
        let wrong = |bits: &mut dyn Iterator<Item = bool>| {
            bits.zip(pixels.clone()).filter(|&(bit, (x, y))| bit != inside(x, y)).count()
        };
        let before = wrong(&mut pixels.clone().map(|(x, y)| {
            coarse((f64::from(x) + 0.5) / f64::from(width), (f64::from(y) + 0.5) / f64::from(height)) > 0.5
        }));
        let after = wrong(&mut mask.bits().iter().copied());
        assert!(after * 4 < before, "{after} pixels are wrong, {before} were");
    }

    #[test]
    fn without_edges_the_mask_stays_and_ends_with_the_square() {
        let image = Image::from_rgb(vec![128; 3 * 100 * 50], 100, 50).unwrap();
        let crop = Crop { x: 0.0, y: 0.0, width: 50.0, height: 50.0 };
        let mask = refined_mask(&image, &crop, |across, _| if across < 0.5 { 1.0 } else { 0.0 }).unwrap();
        assert!(mask.bits()[..25].iter().all(|&bit| bit));
        assert!(mask.bits()[25..100].iter().all(|&bit| !bit));
    }
}
