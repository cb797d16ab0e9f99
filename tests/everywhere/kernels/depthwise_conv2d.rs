//! `depthwise_conv2d` against its plain reference.

use burn::tensor::Device;
use setokim::kernels::dense::{depthwise_conv2d, linear};
use setokim::kernels::epilogue::{Activation, Epilogue};
use setokim::kernels::{Filters, depthwise_conv2d_reference, matmul_reference};
use wasm_bindgen_test::wasm_bindgen_test;

use super::TOLERANCE;
use crate::common::{assert_close, cpu, floats, gpu, matrix, noise, vector};

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn depthwise_conv2d_equals_its_reference() {
    depthwise_conv2d_on(&gpu().await.device).await;
    depthwise_conv2d_on(&cpu().await.device).await;
}

async fn depthwise_conv2d_on(device: &Device) {
    // Sides that leave a rest of the pixels taken at a time, channels that leave a rest of a vector.
    for [height, width, channels] in [[9, 12, 16], [7, 7, 20], [12, 5, 4], [1, 1, 8], [2, 23, 36]] {
        for (kernel, stride, padding) in
            [(3, 1, [1, 1]), (3, 2, [0, 1]), (5, 1, [2, 2]), (5, 2, [1, 2]), (5, 2, [2, 2]), (1, 1, [0, 0])]
        {
            if height + padding[0] + padding[1] < kernel {
                continue;
            }
            for is_relu6 in [false, true] {
                let filters = Filters { kernel, stride, padding, is_relu6 };
                // Times 4, so that some results are above 6.
                let x: Vec<f32> = noise(height * width * channels, 71).iter().map(|x| 4.0 * x).collect();
                let (weight, bias) = (noise(kernel * kernel * channels, 72), noise(channels, 73));
                let reference = depthwise_conv2d_reference(&x, &weight, &bias, [height, width], filters);
                let pixels = vector(&x, device).reshape([height, width, channels]);
                let weight = matrix(&weight, [kernel * kernel, channels], device);
                let ours = depthwise_conv2d(pixels, weight, vector(&bias, device), filters);
                assert_eq!(ours.dims(), [filters.output(height), filters.output(width), channels]);
                let what = format!("[{height}, {width}, {channels}], {filters:?}");
                assert_close(&what, &floats(ours).await, &reference, TOLERANCE);
            }
        }
    }
}

/// A pixel without a number spoils the results that meet it, and ReLU6 hides none of them.
#[wasm_bindgen_test(unsupported = tokio::test)]
async fn depthwise_conv2d_passes_on_what_is_no_number() {
    let filters = Filters { kernel: 3, stride: 1, padding: [1, 1], is_relu6: true };
    let mut x = vec![0.5; 6 * 6 * 4];
    x[(2 * 6 + 3) * 4 + 1] = f32::NAN;
    for device in [gpu().await.device, cpu().await.device] {
        let pixels = vector(&x, &device).reshape([6, 6, 4]);
        let y = depthwise_conv2d(pixels, matrix(&[0.1; 36], [9, 4], &device), vector(&[0.0; 4], &device), filters);
        let spoilt: Vec<usize> =
            floats(y).await.iter().enumerate().filter(|(_, y)| y.is_nan()).map(|(at, _)| at).collect();
        let around = (1..4).flat_map(|row| (2..5).map(move |column| (row * 6 + column) * 4 + 1));
        assert_eq!(spoilt, around.collect::<Vec<_>>());
    }
}

/// TensorFlow pads by as much as the last stride needs, the larger half behind.
#[wasm_bindgen_test(unsupported = tokio::test)]
async fn same_padding_is_that_of_tensorflow() {
    for (side, kernel, stride, padding) in [
        (384, 3, 2, [0, 1]),
        (96, 5, 2, [1, 2]),
        (24, 5, 1, [2, 2]),
        (7, 3, 2, [1, 1]),
        (7, 5, 2, [2, 2]),
        (4, 1, 2, [0, 0]),
    ] {
        let filters = Filters::same(side, kernel, stride);
        assert_eq!(
            (filters.padding, filters.output(side)),
            (padding, side.div_ceil(stride)),
            "{side} {kernel} {stride}"
        );
    }
}

/// ReLU6 in the same launch as a product and its bias, before a residual.
#[wasm_bindgen_test(unsupported = tokio::test)]
async fn a_product_with_relu6_equals_its_reference() {
    let [rows, inner, columns] = [67, 12, 70];
    let a: Vec<f32> = noise(rows * inner, 74).iter().map(|x| 8.0 * x).collect();
    let (b, bias, residual) = (noise(inner * columns, 75), noise(columns, 76), noise(rows * columns, 77));
    let known = matmul_reference(&a, &b, &bias, inner);
    let known: Vec<f32> = known.iter().zip(&residual).map(|(y, residual)| y.clamp(0.0, 6.0) + residual).collect();
    for device in [gpu().await.device, cpu().await.device] {
        let epilogue = Epilogue {
            activation: Some(Activation::Relu6),
            residual: Some(matrix(&residual, [rows, columns], &device)),
            ..Epilogue::bias(vector(&bias, &device))
        };
        let ours = linear(matrix(&a, [rows, inner], &device), matrix(&b, [inner, columns], &device), epilogue);
        assert_close("relu6", &floats(ours).await, &known, TOLERANCE);
    }
}
