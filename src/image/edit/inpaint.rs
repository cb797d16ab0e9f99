//! Removing a thing: its place is filled at a reduced size, and gets the fine grain of where the filling came from.

use super::patches::{Holed, Sources};
use super::repaint;
use crate::image::Image;
use crate::image::planes::{Plane, factor_for, shrink};
use crate::image::soft_mask::{Bounds, SoftMask};
use crate::{Error, Result};

/// The longest side of what is looked at, at the reduced size.
const LONGEST: usize = 288;
/// The most pixels of the hole there: each one is compared with hundreds of patches.
const LARGEST_HOLE: usize = 14_000;

/// Fills what is meant from its surroundings, as far around it as it is large itself.
pub(super) fn remove(image: &Image, mask: &SoftMask) -> Result<Image> {
    let hole = mask.grown();
    let bounds = hole.bounds().ok_or(Error::NothingToEdit("no pixel of the picture is meant"))?;
    if hole.alpha().iter().all(|&alpha| alpha > 0) {
        return Err(Error::NothingToEdit("nothing would be left to fill the place from"));
    }
    let window = around(&bounds, image.width(), image.height());
    let filling = Filling::new(image, &hole, &window);
    let width = image.width() as usize;
    let mut painter =
        Painter { filling: &filling, row: None, smooth: filling.planes.each_ref().map(|_| vec![0.0; filling.width]) };
    Ok(repaint(image, &hole, |at, _| painter.color(at % width - window.x as usize, at / width - window.y as usize)))
}

/// The box and its own size around it.
fn around(bounds: &Bounds, width: u32, height: u32) -> Bounds {
    let margin = bounds.width.max(bounds.height).max(32);
    let (x, y) = (bounds.x.saturating_sub(margin), bounds.y.saturating_sub(margin));
    let end = |start: u32, extent: u32, length: u32| (start + extent).saturating_add(margin).min(length);
    let (right, bottom) = (end(bounds.x, bounds.width, width), end(bounds.y, bounds.height, height));
    Bounds { x, y, width: right - x, height: bottom - y }
}

/// The part of the image that is looked at, at both sizes.
struct Filling {
    /// Of the window in pixels.
    width: usize,
    height: usize,
    /// `[height, width]`, at full size
    pixels: Vec<[u8; 3]>,
    /// Pixels of a side that are one at the reduced size.
    factor: usize,
    /// The reduced size with the hole filled.
    planes: [Plane; 3],
    /// None where nothing but the hole and its near border is in the window.
    sources: Option<Sources>,
}

impl Filling {
    fn new(image: &Image, hole: &SoftMask, window: &Bounds) -> Self {
        let (width, height) = (window.width as usize, window.height as usize);
        let rows = (window.y..window.y + window.height).map(|y| (y * image.width() + window.x) as usize);
        let pixels = rows.clone().flat_map(|at| &image.rgb().as_chunks::<3>().0[at..at + width]).copied();
        let pixels: Vec<[u8; 3]> = pixels.collect();
        let alpha: Vec<u8> = rows.flat_map(|at| &hole.alpha()[at..at + width]).copied().collect();
        let area = alpha.iter().filter(|&&alpha| alpha > 0).count();
        let factor = factor_for(width, height, LONGEST).max(area.div_ceil(LARGEST_HOLE).isqrt());
        let mut planes = shrink::<3>(pixels.as_flattened(), width, height, factor);
        let [hole] = shrink::<1>(&alpha, width, height, factor);
        let hole: Vec<bool> = hole.values.iter().map(|&share| share > 0.0).collect();
        let small = (0..hole.len()).map(|at| planes.each_ref().map(|plane| (plane.values[at] * 255.0).round() as u8));
        let mut small = Holed::new(planes[0].width, planes[0].height, small.collect(), &hole);
        let sources = small.fill();
        for at in (0..hole.len()).filter(|&at| hole[at]) {
            planes
                .iter_mut()
                .zip(small.pixels[at])
                .for_each(|(plane, value)| plane.values[at] = f32::from(value) / 255.0);
        }
        Self { width, height, pixels, factor, planes, sources }
    }

    /// The pixel at full size that a pixel of the hole takes its grain from.
    fn source(&self, x: usize, y: usize) -> Option<(usize, usize)> {
        let across = self.planes[0].width;
        let (small_x, small_y) = (x / self.factor, y / self.factor);
        let source = self.sources.as_ref()?[small_y * across + small_x] as usize;
        let (from_x, from_y) =
            (source % across * self.factor + x % self.factor, source / across * self.factor + y % self.factor);
        (from_x < self.width && from_y < self.height).then_some((from_x, from_y))
    }
}

/// Colours of the hole, row by row.
struct Painter<'a> {
    filling: &'a Filling,
    row: Option<usize>,
    smooth: [Vec<f32>; 3],
}

impl Painter<'_> {
    /// What the reduced size says, enlarged, and how its source differs from the same of itself.
    fn color(&mut self, x: usize, y: usize) -> [u8; 3] {
        let filling = self.filling;
        if self.row.replace(y) != Some(y) {
            for (row, plane) in self.smooth.iter_mut().zip(&filling.planes) {
                plane.enlarged_row(y, filling.factor, row);
            }
        }
        let source = filling.source(x, y);
        std::array::from_fn(|c| {
            let grain = source.map_or(0.0, |(from_x, from_y)| {
                let plain = filling.planes[c].enlarged(from_x, from_y, filling.factor);
                f32::from(filling.pixels[from_y * filling.width + from_x][c]) / 255.0 - plain
            });
            ((self.smooth[c][x] + grain) * 255.0).round() as u8
        })
    }
}
