//! Convolution over pixels in which every channel has a filter of its own. Channels of a pixel are neighbours in memory, so
//! that they fill vectors, and so that the 1 x 1 convolutions before and after it are plain products.

use std::ops::Range;

use burn::backend::TensorMetadata;
use burn::tensor::{DType, TensorData};
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::fill_rows;
use super::gemm_panels::store;
use super::launch::{DEPTHWISE_CONV2D, Launch, dispatch_2d};
use super::simd::{F32x8, LANES, SimdTask, with_simd};

/// Channels that the shader takes at a time.
pub const CHANNEL_GROUP: usize = 4;

/// How the filters of a depthwise convolution lie on the pixels.
#[derive(Debug, Clone, Copy)]
pub struct Filters {
    /// Pixels along a side of a filter.
    pub kernel: usize,
    /// In pixels, the same both ways.
    pub stride: usize,
    /// Zeros above and left of the first pixel, and below and right of the last one.
    pub padding: [usize; 2],
    /// Whether results are cut off below 0 and above 6.
    pub is_relu6: bool,
}

impl Filters {
    /// Filters under which a side of `side` pixels becomes one of `side / stride`, rounded up: TensorFlow's SAME padding, which
    /// puts an odd zero below and to the right.
    pub fn same(side: usize, kernel: usize, stride: usize) -> Self {
        let zeros = ((side.div_ceil(stride) - 1) * stride + kernel).saturating_sub(side);
        Self { kernel, stride, padding: [zeros / 2, zeros - zeros / 2], is_relu6: false }
    }

    /// The same filters, with ReLU6.
    #[must_use]
    pub fn with_relu6(self) -> Self {
        Self { is_relu6: true, ..self }
    }

    /// Length of a side of the result.
    pub fn output(&self, side: usize) -> usize {
        (side + self.padding[0] + self.padding[1] - self.kernel) / self.stride + 1
    }

    /// The pixels of a square that each pixel of the result meets, by their numbers; `side * side` outside of it.
    pub fn met(&self, side: usize) -> Vec<i32> {
        let output = self.output(side);
        let mut met = Vec::with_capacity((output * self.kernel).pow(2));
        let at = |out: usize, within: usize| {
            (out * self.stride + within).checked_sub(self.padding[0]).filter(|&at| at < side)
        };
        for pixel in 0..output * output {
            for within in 0..self.kernel * self.kernel {
                let row = at(pixel / output, within / self.kernel);
                let column = at(pixel % output, within % self.kernel);
                met.push(row.zip(column).map_or(side * side, |(row, column)| row * side + column) as i32);
            }
        }
        met
    }

    /// The rows (columns) of a filter that lie inside of `side` pixels, for a row (column) of the result.
    fn inside(&self, at: usize, side: usize) -> Range<usize> {
        let (start, before) = (at * self.stride, self.padding[0]);
        let end = (side + before).saturating_sub(start).min(self.kernel);
        before.saturating_sub(start).min(end)..end
    }
}

/// The convolution in the plainest form.
///
/// # Shapes
/// - `x`: `[H, W, C]`, `weight`: `[K, K, C]`, `bias`: `[C]`, output: `[H', W', C]`
pub fn depthwise_conv2d_reference(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    [height, width]: [usize; 2],
    filters: Filters,
) -> Vec<f32> {
    let channels = bias.len();
    let mut y = Vec::new();
    for row in 0..filters.output(height) {
        for column in 0..filters.output(width) {
            for (channel, &bias) in bias.iter().enumerate() {
                let mut sum = f64::from(bias);
                for below in filters.inside(row, height) {
                    for beside in filters.inside(column, width) {
                        let pixel_row = row * filters.stride + below - filters.padding[0];
                        let pixel_column = column * filters.stride + beside - filters.padding[0];
                        let pixel = x[(pixel_row * width + pixel_column) * channels + channel];
                        let weight = weight[(below * filters.kernel + beside) * channels + channel];
                        sum += f64::from(pixel) * f64::from(weight);
                    }
                }
                y.push(if filters.is_relu6 { sum.clamp(0.0, 6.0) } else { sum } as f32);
            }
        }
    }
    y
}

/// `x`: `[H, W, C]`, `weight`: `[K * K, C]`, `bias`: `[C]`.
pub(super) fn launch(x: CubeTensor, weight: CubeTensor, bias: CubeTensor, filters: Filters) -> CubeTensor {
    let shape = x.meta.shape().clone();
    let (height, width, channels) = (shape[0], shape[1], shape[2]);
    assert!(channels.is_multiple_of(CHANNEL_GROUP), "{channels} channels are not in groups of {CHANNEL_GROUP}");
    let (rows, columns) = (filters.output(height), filters.output(width));
    let groups = rows * columns * channels / CHANNEL_GROUP;
    let Filters { kernel, stride, padding, is_relu6 } = filters;
    let params =
        [height, width, channels / CHANNEL_GROUP, columns, kernel, stride, padding[0], groups, usize::from(is_relu6)];
    let (launch, y) = Launch::new(DEPTHWISE_CONV2D, x)
        .input(weight)
        .input(bias)
        .params(&params.map(|number| number as u32))
        .output([rows, columns, channels], DType::F32);
    launch.run(dispatch_2d(groups.div_ceil(DEPTHWISE_CONV2D.workgroup as usize)));
    y
}

/// [`launch`] on the CPU.
pub(super) fn convolve(x: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor, filters: Filters) -> FlexTensor {
    let shape = x.shape();
    let (height, width, channels) = (shape[0], shape[1], shape[2]);
    let (rows, columns) = (filters.output(height), filters.output(width));
    let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.to_contiguous());
    let (x, weight, bias) = (x.storage::<f32>(), weight.storage::<f32>(), bias.storage::<f32>());
    let mut y = vec![0.0; rows * columns * channels];
    let row_work = columns * channels * filters.kernel * filters.kernel;
    fill_rows(&mut y, columns * channels, row_work, |first_row, y| {
        with_simd(Convolve { x, weight, bias, sides: [height, width], filters, first_row, y });
    });
    FlexTensor::from_data(TensorData::new(y, [rows, columns, channels]))
}

/// Some rows of the result.
struct Convolve<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    sides: [usize; 2],
    filters: Filters,
    first_row: usize,
    y: &'a mut [f32],
}

/// Pixels of the result that share what is read of the weights.
const PIXELS: usize = 4;

impl SimdTask for Convolve<'_> {
    #[inline(always)]
    fn run<V: F32x8>(mut self) {
        let ([height, width], channels) = (self.sides, self.bias.len());
        let columns = self.filters.output(width);
        let y = std::mem::take(&mut self.y);
        for (row, y) in (self.first_row..).zip(y.chunks_exact_mut(columns * channels)) {
            let below = self.filters.inside(row, height);
            let mut column = 0;
            while column < columns {
                let is_whole = |column| self.filters.inside(column, width) == (0..self.filters.kernel);
                let y = &mut y[column * channels..];
                if column + PIXELS <= columns && is_whole(column) && is_whole(column + PIXELS - 1) {
                    self.pixels::<V, PIXELS>([row, column], [below.clone(), 0..self.filters.kernel], y);
                    column += PIXELS;
                } else {
                    let beside = self.filters.inside(column, width);
                    self.pixels::<V, 1>([row, column], [below.clone(), beside], y);
                    column += 1;
                }
            }
        }
    }
}

impl Convolve<'_> {
    /// `COUNT` pixels from one on, all channels, with that part of the filters that lies inside of x for all of them.
    #[inline(always)]
    fn pixels<V: F32x8, const COUNT: usize>(
        &self,
        [row, column]: [usize; 2],
        [below, beside]: [Range<usize>; 2],
        y: &mut [f32],
    ) {
        let Filters { kernel, stride, padding: [before, _], is_relu6 } = self.filters;
        let ([_, width], channels) = (self.sides, self.bias.len());
        for channel in (0..channels).step_by(LANES) {
            let mut sums = [load::<V>(&self.bias[channel..]); COUNT];
            for below in below.clone() {
                let first = ((row * stride + below - before) * width + column * stride) * channels + channel;
                for beside in beside.clone() {
                    let weight = load::<V>(&self.weight[(below * kernel + beside) * channels + channel..]);
                    let first = first + beside * channels - before * channels;
                    for (pixel, sum) in sums.iter_mut().enumerate() {
                        *sum = load::<V>(&self.x[first + pixel * stride * channels..]).mul_add(weight, *sum);
                    }
                }
            }
            let count = LANES.min(channels - channel);
            for (pixel, sum) in sums.into_iter().enumerate() {
                let y = &mut y[pixel * channels + channel..][..count];
                store(sum, y);
                if is_relu6 {
                    y.iter_mut().for_each(|value| *value = value.clamp(0.0, 6.0));
                }
            }
        }
    }
}

/// Eight numbers, of which those past the last are 0. Where channels are no multiple of eight, some are of the next pixel;
/// what comes of them is not stored.
#[inline(always)]
fn load<V: F32x8>(numbers: &[f32]) -> V {
    match numbers.first_chunk() {
        Some(eight) => V::load(eight),
        None => V::load(&std::array::from_fn(|lane| numbers.get(lane).copied().unwrap_or(0.0))),
    }
}
