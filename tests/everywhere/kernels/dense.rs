//! Products of plain numbers, and what lies between them.

use super::*;

/// Rows, inner size, columns: whole tiles, ragged ones, a single row, column and number.
const PRODUCTS: [[usize; 3]; 6] = [[64, 16, 64], [70, 29, 90], [1, 64, 65], [5, 100, 1], [1, 1, 1], [128, 192, 64]];

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn matmul_equals_its_reference_with_and_without_bias() {
    matmul_on(&gpu().await.device).await;
    matmul_on(&cpu().await.device).await;
}

/// Two sums of up to fifteen, times each other.
const GATED_TOLERANCE: f32 = 3e-4;

async fn matmul_on(device: &Device) {
    for [rows, inner, columns] in PRODUCTS {
        let (a, b, bias) = (noise(rows * inner, 11), noise(inner * columns, 12), noise(columns, 13));
        let what = format!("[{rows}, {inner}] x [{inner}, {columns}]");
        let (x, w) = (matrix(&a, [rows, inner], device), matrix(&b, [inner, columns], device));
        let with_bias = matmul_reference(&a, &b, &bias, inner);
        let ours = linear(x.clone(), w.clone(), Epilogue::bias(vector(&bias, device)));
        assert_close(&what, &floats(ours).await, &with_bias, TOLERANCE);
        // A norm before it, a GELU and a residual after it.
        let (norm, residual) = (noise(inner, 33), noise(rows * columns, 34));
        let normal = rms_norm_reference(&a, &norm, 1e-5);
        let epilogue = gelu_reference(&matmul_reference(&normal, &b, &bias, inner), Gelu::Exact);
        let epilogue: Vec<f32> = epilogue.iter().zip(&residual).map(|(y, residual)| y + residual).collect();
        let ours = Epilogue {
            norm: Some(Norm { weight: vector(&norm, device), eps: 1e-5 }),
            activation: Some(Activation::Gelu(Gelu::Exact)),
            residual: Some(matrix(&residual, [rows, columns], device)),
            ..Epilogue::bias(vector(&bias, device))
        };
        assert_close(&what, &floats(linear(x.clone(), w.clone(), ours)).await, &epilogue, TOLERANCE);
        // A residual that lies column by column.
        let rotated: Vec<f32> = (0..rows * columns).map(|i| residual[i % rows * columns + i / rows]).collect();
        let ours =
            Epilogue { residual: Some(matrix(&rotated, [columns, rows], device).transpose()), ..Epilogue::default() };
        let plain = matmul_reference(&a, &b, &vec![0.0; columns], inner);
        let onto: Vec<f32> = plain.iter().zip(&residual).map(|(y, residual)| y + residual).collect();
        assert_close(&what, &floats(linear(x.clone(), w.clone(), ours)).await, &onto, TOLERANCE);
        let reference = matmul_reference(&a, &b, &vec![0.0; columns], inner);
        assert_close(&what, &floats(matmul(x.clone(), w.clone())).await, &reference, TOLERANCE);
        // Weights come transposed from a checkpoint, and are read where they lie.
        let rotated: Vec<f32> = (0..inner * columns).map(|i| b[i % inner * columns + i / inner]).collect();
        let rotated = matrix(&rotated, [columns, inner], device).transpose();
        assert_close(&what, &floats(linear(x.clone(), rotated, Epilogue::default())).await, &reference, TOLERANCE);
        if columns.is_multiple_of(2) {
            let swiglu_epilogue = linear(x, w, Epilogue { is_swiglu: true, ..Epilogue::default() });
            let known = swiglu_reference(&reference, columns / 2);
            assert_close(&what, &floats(swiglu_epilogue).await, &known, GATED_TOLERANCE);
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn matmul_takes_batches_views_and_one_matrix_for_all() {
    batches_on(&gpu().await.device).await;
    batches_on(&cpu().await.device).await;
}

async fn batches_on(device: &Device) {
    let (outer, inner_batch, rows, inner, columns) = (2, 3, 5, 7, 9);
    let (a, b) = (noise(outer * inner_batch * rows * inner, 14), noise(inner_batch * inner * columns, 15));
    // [outer, rows, inner_batch, inner] encoded as [outer, inner_batch, rows, inner], as heads are.
    let x = vector(&a, device).reshape([outer, rows, inner_batch, inner]).swap_dims(1, 2);
    let w = vector(&b, device).reshape([1, inner_batch, inner, columns]);
    let mut expected = Vec::new();
    for batch in 0..outer * inner_batch {
        let (o, i) = (batch / inner_batch, batch % inner_batch);
        let row = |row: usize| &a[((o * rows + row) * inner_batch + i) * inner..][..inner];
        let a: Vec<f32> = (0..rows).flat_map(row).copied().collect();
        expected.extend(matmul_reference(&a, &b[i * inner * columns..][..inner * columns], &[0.0; 9], inner));
    }
    assert_close("batches", &floats(matmul(x, w)).await, &expected, TOLERANCE);
    // One column and one row, each seen as many without being copied.
    let (column, row) = (noise(rows, 40), noise(columns, 41));
    let x = matrix(&column, [rows, 1], device).expand([rows, inner]);
    let w = matrix(&row, [1, columns], device).expand([inner, columns]);
    let expected: Vec<f32> = column.iter().flat_map(|x| row.iter().map(move |w| inner as f32 * x * w)).collect();
    assert_close("one for all", &floats(matmul(x, w)).await, &expected, TOLERANCE);
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn conv2d_equals_its_reference() {
    conv2d_on(&gpu().await.device).await;
    conv2d_on(&cpu().await.device).await;
}

async fn conv2d_on(device: &Device) {
    // Strides and paddings of the stem, of patches, of the refinement and of 1 x 1; sides that leave a rest.
    for (inputs, [height, width], outputs, kernel, stride, padding) in [
        (3, [12, 16], 8, 3, 2, 1),
        (3, [16, 16], 40, 8, 8, 0),
        (9, [7, 11], 3, 3, 1, 1),
        (33, [5, 5], 34, 1, 1, 0),
        (1, [1, 1], 1, 3, 2, 1),
        (2, [2, 3], 3, 5, 1, 2), // a kernel wider than the image
    ] {
        let shape = Conv2dShape { inputs, height, width, outputs, kernel, stride, padding };
        let (x, weight) = (noise(inputs * height * width, 16), noise(outputs * inputs * kernel * kernel, 17));
        let bias = noise(outputs, 18);
        let weights = vector(&weight, device).reshape([outputs, inputs, kernel, kernel]);
        let pixels = vector(&x, device).reshape([1, inputs, height, width]);
        let ours = conv2d(pixels, weights, vector(&bias, device), stride, padding);
        let [rows, columns] = shape.output();
        assert_eq!(ours.dims(), [1, outputs, rows, columns]);
        let reference = conv2d_reference(&x, &weight, &bias, shape);
        assert_close(&format!("{shape:?}"), &floats(ours).await, &reference, TOLERANCE);
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn attention_equals_its_reference() {
    attention_on(&gpu().await.device).await;
    attention_on(&cpu().await.device).await;
}

async fn attention_on(device: &Device) {
    for (heads, read, seen, head_dim) in [(3, 40, 40, 16), (1, 1, 1, 4), (2, 5, 130, 64)] {
        let width = heads * head_dim;
        let (q, k, v) = (noise(read * width, 19), noise(seen * width, 20), noise(seen * width, 21));
        let split = |x: &[f32], count| vector(x, device).reshape([1, count, heads, head_dim]).swap_dims(1, 2);
        let ours = floats(attention(split(&q, read), split(&k, seen), split(&v, seen))).await;
        let of_head = |x: &[f32], head: usize| -> Vec<f32> {
            x.chunks_exact(width).flat_map(|row| &row[head * head_dim..][..head_dim]).copied().collect()
        };
        let head = |head| attention_reference(&of_head(&q, head), &of_head(&k, head), &of_head(&v, head), head_dim);
        let expected: Vec<f32> = (0..heads).flat_map(head).collect();
        assert_close(&format!("{heads} heads, {read} x {seen}"), &ours, &expected, TOLERANCE);
    }
    // Scores far apart: exponentials that overflow and vanish without the row's maximum.
    let (q, k, v) = ([100.0, 0.0], [90.0, 0.0, -90.0, 0.0], [1.0, 2.0, 3.0, 4.0]);
    let all = |x: &[f32], count| vector(x, device).reshape([1, 1, count, 2]);
    let ours = floats(attention(all(&q, 1), all(&k, 2), all(&v, 2))).await;
    assert_close("far apart", &ours, &[1.0, 2.0], 1e-6);
}

/// Natively only: more scores than are held at a time are seventeen million.
#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn attention_to_many_positions_goes_in_parts() {
    const MANY: usize = 4200;
    for device in [gpu().await.device, cpu().await.device] {
        let [q, k, v] = [37, 38, 39].map(|seed| vector(&noise(MANY * 4, seed), &device).reshape([1, 1, MANY, 4]));
        let whole = attention(q.clone(), k.clone(), v.clone());
        for first in [0, 2000, MANY - 100] {
            let part = attention(q.clone().narrow(2, first, 100), k.clone(), v.clone());
            let ours = floats(whole.clone().narrow(2, first, 100)).await;
            assert_close(&format!("from {first} on"), &ours, &floats(part).await, 1e-6);
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn gelu_equals_its_reference() {
    // From where it is 0 to where it is x, finely, and what is far from everything.
    let mut x: Vec<f32> = (-8000..=8000).map(|i| i as f32 / 1000.0).collect();
    x.extend([0.0, -0.0, 1e-30, -1e30, 1e30]);
    for (kind, device) in [
        (Gelu::Exact, gpu().await.device),
        (Gelu::Exact, cpu().await.device),
        (Gelu::Tanh, cpu().await.device),
        (Gelu::Tanh, gpu().await.device),
    ] {
        let ours = floats(gelu_of_kind(vector(&x, &device), kind)).await;
        for ((x, ours), expected) in x.iter().zip(&ours).zip(gelu_reference(&x, kind)) {
            // Half of x times an error function that is right to 5e-7.
            let tolerance = 5e-7 * x.abs().max(1.0);
            assert!((ours - expected).abs() <= tolerance, "{kind:?}({x}): {ours} and {expected} on {device:?}");
        }
        assert!(floats(gelu_of_kind(vector(&[f32::NAN], &device), kind)).await[0].is_nan());
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn layer_norm_equals_its_reference() {
    for device in [gpu().await.device, cpu().await.device] {
        // Rows, width, numbers with a weight of their own: features, and channels of several pixels.
        for (rows, width, weights) in [(1, 1, 1), (3, 64, 64), (5, 100, 100), (2, 576, 576), (2, 600, 12), (1, 770, 7)]
        {
            let x: Vec<f32> = noise(rows * width, 33).iter().map(|x| 3.0 + x).collect();
            let (weight, bias) = (noise(weights, 34), noise(weights, 35));
            let rows_of_x = matrix(&x, [rows, width], &device);
            let ours = floats(layer_norm(rows_of_x, vector(&weight, &device), vector(&bias, &device), 1e-5)).await;
            let expected = layer_norm_reference(&x, &weight, &bias, width, 1e-5);
            assert_close(&format!("{rows} x {width}, {weights} weights"), &ours, &expected, TOLERANCE);
        }
        let poisoned = matrix(&[1.0, f32::NAN, 2.0], [1, 3], &device);
        let ours = floats(layer_norm(poisoned, vector(&[1.0; 3], &device), vector(&[0.0; 3], &device), 1e-5)).await;
        assert!(ours.iter().all(|y| y.is_nan()), "{ours:?}");
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn softmax_equals_its_reference() {
    for device in [gpu().await.device, cpu().await.device] {
        let x = noise(2 * 3 * 70, 36);
        let ours = floats(softmax(vector(&x, &device).reshape([2, 3, 70]))).await;
        assert_close("softmax", &ours, &softmax_reference(&x, 70, 1.0), 1e-6);
    }
}
