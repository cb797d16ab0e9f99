//! A coarse mask -> the edges of the image: a guided filter (He, Sun, Tang: Guided Image Filtering, 2010) whose coefficients
//! are found at a reduced size (He, Sun: Fast Guided Filter, 2015).

use super::Image;
use super::planes::{Plane, factor_for, shrink};
use super::preprocess::Crop;
use super::soft_mask::SoftMask;
use crate::{Error, Result};

/// The longest side at which coefficients are found: a rim is then as fine as 1/512 of the picture before its own pixels
/// come in.
const LONGEST: usize = 512;
/// How much colours must differ to be an edge, squared, colours being 0 to 1.
const EPSILON: f32 = 4e-4;
/// How far the filter looks, in cells of the coarse grid: first as far as an edge may be off, then closer, for narrow parts.
const REACH: [f32; 2] = [1.0, 0.4];
/// What the filter leaves between these is a rim; below nothing is meant, above the whole pixel is.
const RIM: [f32; 2] = [0.3, 0.7];

/// Moves the borders of a mask to the edges of the image nearby. Where the image has none, the border is the smooth line that
/// the logits draw. 12 megapixels take about as long as decoding their JPEG.
///
/// # Shapes
///
/// - logits: `grid` = `[rows, cols]`, row by row, over the part `crop` of the image; above 0 means inside
/// - output: of the image's size; nothing is meant outside the crop
///
/// # Errors
///
/// [`Error::Setting`] when the logits do not fill the grid or the crop is empty; [`Error::NotFinite`].
pub fn refine(image: &Image, logits: &[f32], grid: [usize; 2], crop: &Crop) -> Result<SoftMask> {
    check(logits, grid, crop)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let factor = factor_for(width, height, LONGEST);
    let guide = Guide::new(shrink(image.rgb(), width, height, factor));
    let mut mask = spread(logits, grid, crop, factor, &guide.colors[0]);
    let cell = [crop.width as f32 / (grid[1] * factor) as f32, crop.height as f32 / (grid[0] * factor) as f32];
    let radius = |reach: f32| cell.map(|side| (side * reach).round().max(1.0) as usize);
    mask = guide.filter(&mask, radius(REACH[0]));
    let coefficients = guide.coefficients(&mask, radius(REACH[1]));
    let alpha = apply(&coefficients, image, factor, crop);
    SoftMask::new(alpha, image.width(), image.height())
}

fn check(logits: &[f32], [rows, cols]: [usize; 2], crop: &Crop) -> Result<()> {
    if logits.is_empty() || rows.checked_mul(cols) != Some(logits.len()) {
        return Err(Error::Setting(format!("{} mask logits do not fill {rows} x {cols}", logits.len())));
    }
    let is_sound = [crop.width, crop.height].iter().all(|side| *side > 0.0 && side.is_finite());
    if !(is_sound && crop.x.is_finite() && crop.y.is_finite()) {
        return Err(Error::Setting(format!("no mask fits on the crop {crop:?}")));
    }
    match logits.iter().position(|logit| !logit.is_finite()) {
        Some(at) => Err(Error::NotFinite { what: "mask logits", row: at / cols }),
        None => Ok(()),
    }
}

/// Probabilities at the reduced size from the coarse grid, read between its cells' centres; the outermost go on beyond it.
fn spread(logits: &[f32], [rows, cols]: [usize; 2], crop: &Crop, factor: usize, size: &Plane) -> Plane {
    let place = |at: usize, start: f64, extent: f64, cells: usize| {
        let pixel = (at as f64 + 0.5) * factor as f64;
        let at = ((pixel - start) / extent * cells as f64 - 0.5).clamp(0.0, (cells - 1) as f64);
        (at as usize, (at as usize + 1).min(cells - 1), at.fract() as f32)
    };
    let across: Vec<_> = (0..size.width).map(|x| place(x, crop.x, crop.width, cols)).collect();
    let values = (0..size.height).flat_map(|y| {
        let (top, bottom, to_bottom) = place(y, crop.y, crop.height, rows);
        across.iter().map(move |&(left, right, to_right)| {
            let row = |y: usize| logits[y * cols + left] * (1.0 - to_right) + logits[y * cols + right] * to_right;
            let logit = row(top) * (1.0 - to_bottom) + row(bottom) * to_bottom;
            1.0 / (1.0 + (-logit).exp())
        })
    });
    Plane { values: values.collect(), ..*size }
}

/// The image at the reduced size, and the products of its colours, in the order rr, rg, rb, gg, gb, bb.
struct Guide {
    colors: [Plane; 3],
    products: [Plane; 6],
}

/// In the window around each pixel the mask is about `a . color + b`; the mean over all windows that a pixel lies in.
struct Coefficients {
    a: [Plane; 3],
    b: Plane,
}

impl Guide {
    fn new(colors: [Plane; 3]) -> Self {
        let products = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)].map(|(i, j)| colors[i].product(&colors[j]));
        Self { colors, products }
    }

    /// Equations 19 to 21 of the paper, which are equations 5, 6 and 8 for an image of three colours.
    fn coefficients(&self, mask: &Plane, radius: [usize; 2]) -> Coefficients {
        let colors = self.colors.each_ref().map(|color| color.box_mean(radius));
        let products = self.products.each_ref().map(|product| product.box_mean(radius));
        let with_mask = self.colors.each_ref().map(|color| color.product(mask).box_mean(radius));
        let mut b = mask.box_mean(radius);
        let mut a = self.colors.clone();
        for at in 0..mask.values.len() {
            let mean = colors.each_ref().map(|plane| plane.values[at]);
            let [rr, rg, rb, gg, gb, bb] = products.each_ref().map(|plane| plane.values[at]);
            let variance = [
                [rr - mean[0] * mean[0] + EPSILON, rg - mean[0] * mean[1], rb - mean[0] * mean[2]],
                [rg - mean[0] * mean[1], gg - mean[1] * mean[1] + EPSILON, gb - mean[1] * mean[2]],
                [rb - mean[0] * mean[2], gb - mean[1] * mean[2], bb - mean[2] * mean[2] + EPSILON],
            ];
            let covariance = std::array::from_fn(|c| with_mask[c].values[at] - mean[c] * b.values[at]);
            let slope = solve(variance, covariance);
            for c in 0..3 {
                a[c].values[at] = slope[c];
                b.values[at] -= slope[c] * mean[c];
            }
        }
        Coefficients { a: a.map(|plane| plane.box_mean(radius)), b: b.box_mean(radius) }
    }

    /// The mask after one pass, still at the reduced size.
    fn filter(&self, mask: &Plane, radius: [usize; 2]) -> Plane {
        let Coefficients { a, b } = self.coefficients(mask, radius);
        let mut filtered = b;
        for (slope, color) in a.iter().zip(&self.colors) {
            for (value, (slope, color)) in filtered.values.iter_mut().zip(slope.values.iter().zip(&color.values)) {
                *value += slope * color;
            }
        }
        filtered.values.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
        filtered
    }
}

/// The `x` of `m x = y` by Cramer's rule. `m` is a covariance with `EPSILON` added on its diagonal, so it can be solved.
fn solve(m: [[f32; 3]; 3], y: [f32; 3]) -> [f32; 3] {
    let cross =
        |u: [f32; 3], v: [f32; 3]| [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    let dot = |u: [f32; 3], v: [f32; 3]| u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
    // The matrix is symmetric, so its rows are its columns.
    let determinant = dot(m[0], cross(m[1], m[2])).max(EPSILON * EPSILON * EPSILON);
    [dot(y, cross(m[1], m[2])), dot(m[0], cross(y, m[2])), dot(m[0], cross(m[1], y))].map(|part| part / determinant)
}

/// The coefficients on the image's own pixels, a row at a time.
fn apply(Coefficients { a, b }: &Coefficients, image: &Image, factor: usize, crop: &Crop) -> Vec<u8> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let covered = |length: usize, start: f64, extent: f64| {
        let is_inside = move |at: &usize| (0.0..=extent).contains(&(*at as f64 + 0.5 - start));
        (0..length).find(is_inside).map_or(0..0, |first| first..(0..length).rfind(is_inside).map_or(first, |at| at + 1))
    };
    let (columns, rows) = (covered(width, crop.x, crop.width), covered(height, crop.y, crop.height));
    let mut alpha = vec![0; width * height];
    let mut lines = std::array::from_fn(|_| vec![0.0; width]);
    for y in rows {
        for (line, plane) in lines.iter_mut().zip(a.iter().chain([b])) {
            plane.enlarged_row(y, factor, line);
        }
        let [red, green, blue, base]: &[Vec<f32>; 4] = &lines;
        let pixels = &image.rgb().as_chunks::<3>().0[y * width..];
        for x in columns.clone() {
            let [r, g, b] = pixels[x].map(|value| f32::from(value) / 255.0);
            let value = base[x] + red[x] * r + green[x] * g + blue[x] * b;
            alpha[y * width + x] = ((value - RIM[0]) / (RIM[1] - RIM[0]) * 255.0).round() as u8; // saturates
        }
    }
    alpha
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 240;
    const GRID: usize = 24;

    /// A disc of one colour on another, both with some noise, and coarse logits of a disc that is off by `shift` pixels.
    fn disc(shift: f64) -> (Image, Vec<bool>, Vec<f32>) {
        let distance = |x: f64, y: f64| (x - 120.0).hypot(y - 112.0) - 70.0;
        let pixel = |at: usize| distance((at % SIZE) as f64 + 0.5, (at / SIZE) as f64 + 0.5) < 0.0;
        let bits: Vec<bool> = (0..SIZE * SIZE).map(pixel).collect();
        let noise = |at: usize| (at * 7919 % 13) as u8;
        let color =
            |(at, inside): (usize, &bool)| if *inside { [170, 110, 60 + noise(at)] } else { [90 + noise(at), 130, 80] };
        let rgb = bits.iter().enumerate().flat_map(color).collect();
        let cell = (SIZE / GRID) as f64;
        let logit = |at: usize| {
            let (x, y) = (((at % GRID) as f64 + 0.5) * cell, ((at / GRID) as f64 + 0.5) * cell);
            (-distance(x - shift, y) / cell * 3.0) as f32
        };
        (Image::from_rgb(rgb, SIZE as u32, SIZE as u32).unwrap(), bits, (0..GRID * GRID).map(logit).collect())
    }

    fn whole(image: &Image) -> Crop {
        Crop { x: 0.0, y: 0.0, width: image.width().into(), height: image.height().into() }
    }

    fn iou(a: &[bool], b: &[bool]) -> f64 {
        let count = |f: fn(bool, bool) -> bool| a.iter().zip(b).filter(|&(&a, &b)| f(a, b)).count() as f64;
        count(|a, b| a && b) / count(|a, b| a || b)
    }

    #[test]
    fn a_border_that_is_off_moves_to_the_edge() {
        let (image, want, logits) = disc(6.0);
        let refined = refine(&image, &logits, [GRID; 2], &whole(&image)).unwrap();
        let coarse = spread(&logits, [GRID; 2], &whole(&image), 1, &shrink::<3>(image.rgb(), SIZE, SIZE, 1)[0]);
        let coarse: Vec<bool> = coarse.values.iter().map(|&p| p > 0.5).collect();
        let (before, after) = (iou(&coarse, &want), iou(refined.to_mask().bits(), &want));
        assert!(before < 0.91, "{before}");
        assert!(after > 0.985, "{before} -> {after}");
        // The rim is narrow: 440 pixels of circumference, six or so across.
        let soft = refined.alpha().iter().filter(|alpha| (1..255).contains(*alpha)).count();
        assert!(soft < 440 * 6, "{soft}");
    }

    #[test]
    fn an_image_without_edges_keeps_the_smooth_line() {
        let plain = Image::from_rgb(vec![128; 64 * 48 * 3], 64, 48).unwrap();
        let refined = refine(&plain, &[4.0, -4.0], [1, 2], &whole(&plain)).unwrap();
        for row in refined.to_mask().bits().chunks(64) {
            assert!(row[..31].iter().all(|&bit| bit) && !row[33..].iter().any(|&bit| bit));
        }
    }

    #[test]
    fn a_large_image_has_the_edge_of_its_own_pixels() {
        // The edge lies at 1003, which no block of the reduced size ends at.
        let (width, height) = (2000, 600);
        let rgb = (0..width * height).flat_map(|at| if at % width < 1003 { [200, 60, 50] } else { [60, 70, 120] });
        let image = Image::from_rgb(rgb.collect(), width, height).unwrap();
        let logits: Vec<f32> = (0..24 * 24).map(|at| if at % 24 < 12 { 5.0 } else { -5.0 }).collect();
        let mask = refine(&image, &logits, [24; 2], &whole(&image)).unwrap().to_mask();
        let wrong = (0..).zip(mask.bits()).filter(|&(at, &bit)| bit != (at % width < 1003)).count();
        assert_eq!(wrong, 0);
    }

    #[test]
    fn nothing_is_meant_outside_the_crop() {
        let image = Image::from_rgb(vec![50; 30 * 10 * 3], 30, 10).unwrap();
        let middle = Crop { x: 10.0, y: 0.0, width: 10.0, height: 10.0 };
        let mask = refine(&image, &[3.0; 4], [2, 2], &middle).unwrap().to_mask();
        let row: Vec<usize> = (0..30).filter(|&x| mask.bits()[5 * 30 + x]).collect();
        assert_eq!(row, (10..20).collect::<Vec<_>>());
    }

    #[test]
    fn extremes() {
        for (width, height) in [(1, 1), (1, 3000), (3000, 1), (5, 4)] {
            let image = Image::from_rgb(vec![9; (width * height * 3) as usize], width, height).unwrap();
            let all = refine(&image, &[80.0; 576], [24; 2], &whole(&image)).unwrap();
            assert!(all.alpha().iter().all(|&alpha| alpha == 255), "{width} x {height}");
            let none = refine(&image, &[-80.0; 576], [24; 2], &whole(&image)).unwrap();
            assert!(none.alpha().iter().all(|&alpha| alpha == 0), "{width} x {height}");
        }
        let image = Image::from_rgb(vec![9; 12], 2, 2).unwrap();
        let code = |logits: &[f32], grid, crop: Crop| refine(&image, logits, grid, &crop).unwrap_err().code();
        assert_eq!(code(&[0.0; 3], [2, 2], whole(&image)), "setting-invalid");
        assert_eq!(code(&[], [0, 0], whole(&image)), "setting-invalid");
        assert_eq!(code(&[f32::NAN], [1, 1], whole(&image)), "not-finite");
        assert_eq!(code(&[1.0], [1, 1], Crop { width: 0.0, ..whole(&image) }), "setting-invalid");
    }
}
