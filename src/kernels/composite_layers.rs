//! Small images on top of an image, each in a square of its own.

use burn::backend::flex::Flex;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, TensorMetadata, backend_extension};
use burn::tensor::{DType, Tensor, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::launch::{COMPOSITE_LAYERS, Launch, dispatch_2d};

/// What a detokenizer does with its layers.
#[backend_extension(Cube, Flex)]
pub trait LayerOps: Backend {
    /// See [`composite_layers`](fn@composite_layers).
    fn composite_layers(
        image: FloatTensor<Self>,
        images: FloatTensor<Self>,
        boxes: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl LayerOps for CubeBackend {
    fn composite_layers(
        image: FloatTensor<Self>,
        images: FloatTensor<Self>,
        boxes: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        launch(image, images, boxes)
    }
}

impl LayerOps for Flex {
    fn composite_layers(
        image: FloatTensor<Self>,
        images: FloatTensor<Self>,
        boxes: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let shape = image.shape();
        let [image, images, boxes] = [image, images, boxes].map(|tensor: FlexTensor| tensor.to_contiguous());
        let pasted = composite_layers_reference(image.storage(), images.storage(), boxes.storage());
        FlexTensor::from_data(TensorData::new(pasted, shape))
    }
}

/// Layers on top of an image, all at the same height: where several meet, their colours mix by opacity. Bilinear; a layer is
/// clear outside of its box, and everywhere if the side of that is not positive.
///
/// # Shapes
/// - `image`, output: `[3, S, S]`
/// - `images`: `[L, 4 G G]`: colour, and opacity before the sigmoid, plane by plane
/// - `boxes`: `[L, 3]`: middle across, middle down and side, as shares of `S`
pub fn composite_layers(image: Tensor<3>, images: Tensor<2>, boxes: Tensor<2>) -> Tensor<3> {
    let (image, images) = (image.into_dispatch(), images.into_dispatch());
    Tensor::from_dispatch(Dispatch::composite_layers(image, images, boxes.into_dispatch()))
}

/// [`composite_layers`](fn@composite_layers) in the plainest form, which is fast enough for the CPU: most of a layer is outside of
/// its box.
pub fn composite_layers_reference(image: &[f32], images: &[f32], boxes: &[f32]) -> Vec<f32> {
    let (boxes, _) = boxes.as_chunks::<3>();
    let plane = images.len() / (4 * boxes.len()).max(1);
    let (size, side) = ((image.len() / 3).isqrt(), plane.isqrt());
    let mut laid = vec![[0.0f64; 4]; size * size];
    let mut clear = vec![1.0f64; size * size];
    for (image, &[across, down, share]) in images.chunks_exact(4 * plane).zip(boxes) {
        if share.is_nan() || share <= 0.0 {
            continue;
        }
        let texels: Vec<[f64; 4]> = (0..plane).map(|at| texel(image, plane, at)).collect();
        let inside = |middle: f32| -> Vec<(usize, f64)> {
            // Pixels that the box covers, and where between its texels they lie.
            let at = |pixel: usize| {
                let offset = (pixel as f64 + 0.5) / size as f64;
                ((offset - f64::from(middle)) / f64::from(share.max(1e-3)) + 0.5) * side as f64 - 0.5
            };
            (0..size).map(|pixel| (pixel, at(pixel))).filter(|(_, at)| *at > -1.0 && *at < side as f64).collect()
        };
        let columns = inside(across);
        for (row, y) in inside(down) {
            for &(column, x) in &columns {
                let seen = bilinear(&texels, side, x, y);
                let at = row * size + column;
                laid[at] = std::array::from_fn(|channel| laid[at][channel] + seen[channel]);
                clear[at] *= 1.0 - seen[3];
            }
        }
    }
    let value = |(i, below): (usize, &f32)| {
        let (channel, at) = (i / (size * size), i % (size * size));
        let color = laid[at][channel] / laid[at][3].max(1e-6);
        (clear[at] * f64::from(*below) + (1.0 - clear[at]) * color) as f32
    };
    image.iter().enumerate().map(value).collect()
}

/// Colour times opacity, and opacity.
fn texel(image: &[f32], plane: usize, at: usize) -> [f64; 4] {
    let opacity = 1.0 / (1.0 + (-f64::from(image[3 * plane + at])).exp());
    let color = |channel: usize| opacity * f64::from(image[channel * plane + at]);
    [color(0), color(1), color(2), opacity]
}

/// Between the four texels around `(x, y)`; those outside are nothing.
fn bilinear(texels: &[[f64; 4]], side: usize, x: f64, y: f64) -> [f64; 4] {
    let neighbors = |at: f64| {
        let (first, share) = (at.floor(), at - at.floor());
        let is_inside = |(at, _): &(f64, f64)| (0.0..side as f64).contains(at);
        [(first, 1.0 - share), (first + 1.0, share)].into_iter().filter(is_inside)
    };
    let mut sum = [0.0; 4];
    for (row, of_row) in neighbors(y) {
        for (column, of_column) in neighbors(x) {
            let texel = texels[row as usize * side + column as usize];
            sum = std::array::from_fn(|channel| sum[channel] + of_row * of_column * texel[channel]);
        }
    }
    sum
}

fn launch(image: CubeTensor, images: CubeTensor, boxes: CubeTensor) -> CubeTensor {
    let shape = image.meta.shape().clone();
    let (size, layers) = (shape[1], boxes.meta.shape()[0]);
    let side = (images.meta.shape()[1] / 4).isqrt();
    let (launch, pasted) = Launch::new(COMPOSITE_LAYERS, image)
        .input(images)
        .input(boxes)
        .params(&[size as u32, layers as u32, side as u32])
        .output(shape, DType::F32);
    launch.run(dispatch_2d((size * size).div_ceil(COMPOSITE_LAYERS.workgroup as usize)));
    pasted
}
