//! Blur and blocks.

use super::repaint;
use crate::image::Image;
use crate::image::planes::{Plane, shrink};
use crate::image::soft_mask::{Bounds, SoftMask};

/// Standard deviation at the reduced size, in its pixels: finer, and the reduced size could be seen.
const REDUCED_SIGMA: f32 = 3.0;
/// The weight of what is not meant: so little that it only counts where there is nothing else.
const OTHERS: f32 = 1e-4;

/// A Gaussian blur of what is meant, as three box filters at a reduced size. What is not meant does not run into it: a
/// blurred background has no halo of the thing before it.
pub(super) fn blur(image: &Image, mask: &SoftMask, sigma: f32) -> Image {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let factor = ((sigma / REDUCED_SIGMA) as usize).max(1);
    let [mut weight] = shrink::<1>(mask.alpha(), width, height, factor);
    for value in &mut weight.values {
        *value = value.powi(4) + OTHERS; // blocks of both would bring the other's colour in
    }
    let radius = [(sigma / factor as f32).round().max(1.0) as usize; 2];
    let thrice = |plane: &Plane| plane.box_mean(radius).box_mean(radius).box_mean(radius);
    let total = thrice(&weight);
    let planes = shrink::<3>(image.rgb(), width, height, factor).map(|color| {
        let mut mean = thrice(&color.product(&weight));
        mean.values.iter_mut().zip(&total.values).for_each(|(mean, total)| *mean /= total);
        mean
    });
    let (mut rows, mut row) = ([vec![0.0; width], vec![0.0; width], vec![0.0; width]], None);
    repaint(image, mask, |at, _| {
        if row.replace(at / width) != Some(at / width) {
            for (row, plane) in rows.iter_mut().zip(&planes) {
                plane.enlarged_row(at / width, factor, row);
            }
        }
        rows.each_ref().map(|row| (row[at % width] * 255.0).round() as u8)
    })
}

/// The mean colour of what is meant in each block of `side` by `side` pixels.
pub(super) fn pixelate(image: &Image, mask: &SoftMask, bounds: &Bounds, side: u32) -> Image {
    let (width, side) = (image.width() as usize, side as usize);
    let (left, top) = (bounds.x as usize, bounds.y as usize);
    let across = (bounds.width as usize).div_ceil(side);
    let block = |at: usize| (at / width - top) / side * across + (at % width - left) / side;
    let mut sums = vec![[0u64; 4]; across * (bounds.height as usize).div_ceil(side)];
    for (at, (pixel, &alpha)) in image.rgb().as_chunks::<3>().0.iter().zip(mask.alpha()).enumerate() {
        if alpha > 0 {
            let [r, g, b] = pixel.map(|value| u64::from(value) * u64::from(alpha));
            let sum = &mut sums[block(at)];
            *sum = [sum[0] + r, sum[1] + g, sum[2] + b, sum[3] + u64::from(alpha)];
        }
    }
    repaint(image, mask, |at, _| {
        let [r, g, b, total] = sums[block(at)];
        [r, g, b].map(|sum| ((sum + total / 2) / total) as u8)
    })
}
