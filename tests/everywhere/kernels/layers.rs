//! The detokenizer's layers.

use super::*;

/// An image, layers by plane and their boxes on a device.
async fn pasted_on(device: &Device, image: &[f32], images: &[f32], boxes: &[f32]) -> Vec<f32> {
    let (size, layers) = ((image.len() / 3).isqrt(), boxes.len() / 3);
    let image = matrix(image, [3, size * size], device).reshape([3, size, size]);
    let images = matrix(images, [layers, images.len() / layers], device);
    floats(composite_layers(image, images, matrix(boxes, [layers, 3], device))).await
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn composite_layers_by_hand() {
    const OPAQUE: f32 = 40.0;
    // One texel, red, over the left upper quarter of an image of 2 x 2; then the same with its neighbour below, half clear.
    let image = [0.0; 12];
    let quarter = [0.25, 0.25, 0.5];
    let red = [1.0, 0.0, 0.0, OPAQUE];
    for device in [gpu().await.device, cpu().await.device] {
        let expected = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_close("one", &pasted_on(&device, &image, &red, &quarter).await, &expected, 1e-6);
        let (images, boxes) = ([1.0, 0.0, 0.0, OPAQUE, 0.0, 1.0, 0.0, 0.0], [0.25, 0.25, 0.5, 0.25, 0.75, 0.5]);
        let mut both = expected;
        both[4 + 2] = 0.5; // green, from an opacity whose sigmoid is a half
        assert_close("two", &pasted_on(&device, &image, &images, &boxes).await, &both, 1e-6);
        // Where both lie, red counts twice as much as green, and nothing shows through.
        let boxes = [0.25, 0.25, 0.5, 0.25, 0.25, 0.5];
        let mut mixed = [0.0; 12];
        (mixed[0], mixed[4]) = (2.0 / 3.0, 1.0 / 3.0);
        assert_close("mixed", &pasted_on(&device, &image, &images, &boxes).await, &mixed, 1e-6);
        // Halfway beside the pixel, half of it is there.
        let beside = pasted_on(&device, &image, &red, &[0.5, 0.25, 0.5]).await;
        let mut halves = [0.0; 12];
        (halves[0], halves[1]) = (0.5, 0.5);
        assert_close("beside", &beside, &halves, 1e-6);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn composite_layers_equals_its_reference() {
    // Sides of image and layer, layers: one pixel, no tile's multiple, more pixels than a workgroup has, larger than they are.
    for (size, side, layers) in [(1, 1, 1), (9, 5, 3), (32, 6, 16), (24, 40, 2)] {
        let (image, images) = (noise(3 * size * size, 31), noise(layers * 4 * side * side, 32));
        let mut boxes: Vec<f32> = noise(3 * layers, 33).iter().map(|v| 0.5 + 0.4 * v).collect();
        (boxes[0], boxes[1], boxes[2]) = (0.5, 0.4, 0.7);
        let reference = composite_layers_reference(&image, &images, &boxes);
        assert!(reference.iter().zip(&image).any(|(now, before)| now != before), "something is pasted");
        for device in [gpu().await.device, cpu().await.device] {
            // A share of a texel is known to a few units in the last place of a offset among forty.
            let ours = pasted_on(&device, &image, &images, &boxes).await;
            assert_close(&format!("{size}, {side} on {device:?}"), &ours, &reference, 1e-4);
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn composite_layers_leaves_out_what_has_no_side() {
    let (image, images) = (noise(3 * 16, 34), noise(2 * 4 * 9, 35));
    for device in [gpu().await.device, cpu().await.device] {
        for boxes in [[0.5, 0.5, 0.0, 0.5, 0.5, -1.0], [0.5, 0.5, f32::NAN, f32::NAN, 0.5, 0.5]] {
            assert_eq!(pasted_on(&device, &image, &images, &boxes).await, image, "{boxes:?} on {device:?}");
        }
    }
}
