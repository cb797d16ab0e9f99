//! Numbers a pixel at a reduced size: what an image looks like from farther away, and how it comes back to its own size.

/// One number for each pixel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plane {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// `[height, width]`
    pub(crate) values: Vec<f32>,
}

/// How many pixels of a side become one, so that no side is longer than `longest`.
pub(crate) fn factor_for(width: usize, height: usize, longest: usize) -> usize {
    width.max(height).div_ceil(longest).max(1)
}

/// Means of blocks of `factor` by `factor` pixels, as 0 to 1, a plane a channel; blocks at the right and lower edge are of
/// what is left.
///
/// # Shapes
/// - `values`: `[height, width, C]`
pub(crate) fn shrink<const C: usize>(values: &[u8], width: usize, height: usize, factor: usize) -> [Plane; C] {
    let (across, down) = (width.div_ceil(factor), height.div_ceil(factor));
    let mut planes =
        std::array::from_fn(|_| Plane { width: across, height: down, values: Vec::with_capacity(across * down) });
    let mut sums = vec![[0u32; C]; across];
    for block in values.chunks(factor * width * C) {
        sums.fill([0; C]);
        for row in block.chunks_exact(width * C) {
            for (sum, pixels) in sums.iter_mut().zip(row.chunks(factor * C)) {
                for pixel in pixels.as_chunks::<C>().0 {
                    for (sum, value) in sum.iter_mut().zip(pixel) {
                        *sum += u32::from(*value);
                    }
                }
            }
        }
        let rows = block.len() / (width * C);
        for (column, sum) in sums.iter().enumerate() {
            let pixels = rows * factor.min(width - column * factor);
            for (plane, &sum) in planes.iter_mut().zip(sum) {
                plane.values.push(sum as f32 / (255 * pixels) as f32);
            }
        }
    }
    planes
}

impl Plane {
    pub(crate) fn product(&self, other: &Self) -> Self {
        let values = self.values.iter().zip(&other.values).map(|(a, b)| a * b).collect();
        Self { values, ..*self }
    }

    /// The mean of the pixels at most `radius` `[across, down]` away; at the edges of those that there are.
    pub(crate) fn box_mean(&self, radius: [usize; 2]) -> Self {
        let (width, height) = (self.width, self.height);
        let mut values = self.values.clone();
        for row in values.chunks_exact_mut(width) {
            let line = row.to_vec();
            let mut window = Window::new(radius[0], width);
            let mut sum = 0.0;
            for (at, mean) in row.iter_mut().enumerate() {
                let (enters, leaves) = window.step(at);
                sum += line[enters].iter().map(|&value| f64::from(value)).sum::<f64>();
                sum -= leaves.map_or(0.0, |x| f64::from(line[x]));
                *mean = (sum / window.pixels(at)) as f32;
            }
        }
        let rows = values.clone();
        let mut window = Window::new(radius[1], height);
        let mut sums = vec![0.0; width];
        for (at, row) in values.chunks_exact_mut(width).enumerate() {
            let (enters, leaves) = window.step(at);
            for y in enters {
                sums.iter_mut().zip(&rows[y * width..]).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            if let Some(y) = leaves {
                sums.iter_mut().zip(&rows[y * width..]).for_each(|(sum, value)| *sum -= f64::from(*value));
            }
            let pixels = window.pixels(at);
            row.iter_mut().zip(&sums).for_each(|(mean, sum)| *mean = (sum / pixels) as f32);
        }
        Self { values, ..*self }
    }

    /// Row `y` of the full size, `factor` times as large, read between pixel centres.
    pub(crate) fn enlarged_row(&self, y: usize, factor: usize, row: &mut [f32]) {
        let (top, bottom, to_bottom) = neighbors(y, factor, self.height);
        let (top, bottom) = (&self.values[top * self.width..], &self.values[bottom * self.width..]);
        let line: Vec<f32> = top.iter().zip(bottom).take(self.width).map(|(a, b)| a + (b - a) * to_bottom).collect();
        for (x, value) in row.iter_mut().enumerate() {
            let (left, right, to_right) = neighbors(x, factor, self.width);
            *value = line[left] + (line[right] - line[left]) * to_right;
        }
    }

    /// One value of [`Plane::enlarged_row`].
    pub(crate) fn enlarged(&self, x: usize, y: usize, factor: usize) -> f32 {
        let (top, bottom, to_bottom) = neighbors(y, factor, self.height);
        let (left, right, to_right) = neighbors(x, factor, self.width);
        let column = |x: usize| {
            let (above, below) = (self.values[top * self.width + x], self.values[bottom * self.width + x]);
            above + (below - above) * to_bottom
        };
        column(left) + (column(right) - column(left)) * to_right
    }
}

/// The two pixels of a reduced size of `length` that a pixel lies between, and how far it is from the first to the second.
fn neighbors(at: usize, factor: usize, length: usize) -> (usize, usize, f32) {
    let twice = (2 * at + 1).saturating_sub(factor); // in half pixels from the first centre
    let first = (twice / (2 * factor)).min(length - 1);
    let share = (twice % (2 * factor)) as f32 / (2 * factor) as f32;
    (first, (first + 1).min(length - 1), share)
}

/// Which of `length` pixels are at most `radius` away from one that moves along.
pub(crate) struct Window {
    radius: usize,
    length: usize,
    end: usize,
}

impl Window {
    pub(crate) fn new(radius: usize, length: usize) -> Self {
        Self { radius, length, end: 0 }
    }

    /// What comes into the window as it moves to `at`, and what falls out.
    pub(crate) fn step(&mut self, at: usize) -> (std::ops::Range<usize>, Option<usize>) {
        let end = (at + self.radius + 1).min(self.length);
        let enters = self.end..end;
        self.end = end;
        (enters, at.checked_sub(self.radius + 1))
    }

    pub(crate) fn pixels(&self, at: usize) -> f64 {
        (self.end - at.saturating_sub(self.radius)) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_at_the_edge_are_of_what_is_left() {
        let [plane] = shrink::<1>(&[0, 255, 51, 0, 255, 51, 102, 102, 204], 3, 3, 2);
        assert_eq!((plane.width, plane.height), (2, 2));
        assert_eq!(plane.values, [0.5, 0.2, 0.4, 0.8]);
    }

    #[test]
    fn a_mean_is_of_the_pixels_that_there_are() {
        let plane = Plane { width: 4, height: 2, values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0] };
        assert_eq!(plane.box_mean([1, 0]).values, [1.5, 2.0, 3.0, 3.5, 5.5, 6.0, 7.0, 7.5]);
        assert_eq!(plane.box_mean([0, 3]).values, [3.0, 4.0, 5.0, 6.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(plane.box_mean([9, 9]).values, [4.5; 8]);
    }

    #[test]
    fn a_slope_comes_back_as_a_slope() {
        let plane = Plane { width: 4, height: 1, values: vec![0.5, 2.5, 4.5, 6.5] };
        let mut row = [0.0; 8];
        plane.enlarged_row(1, 2, &mut row);
        assert_eq!(row, [0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.5], "beyond the outer centres the value stays");
    }
}
