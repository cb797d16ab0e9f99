//! Products with packed weights against plain loops.

use super::*;

/// Blocks of a file with all sorts of scales, also tiny ones that are subnormal as f16.
fn file_blocks(kind: WeightKind, shape: PackedShape) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut bytes = Vec::new();
    for block in 0..shape.rows * shape.columns / kind.block_len() {
        let start = bytes.len();
        bytes.extend((0..kind.block_bytes()).map(|_| byte()));
        let scale = if block % 7 == 3 { 3.1e-6 } else { 0.02 + 0.001 * (block % 50) as f32 };
        let scale = half::f16::from_f32(scale).to_le_bytes();
        match kind {
            WeightKind::F32 => bytes[start..].copy_from_slice(&(f32::from(byte()) * 0.01 - 1.2).to_le_bytes()),
            WeightKind::F16 if block % 7 == 3 => bytes[start..].copy_from_slice(&scale),
            WeightKind::F16 => {
                let weight = half::f16::from_f32(f32::from(byte()) * 0.01 - 1.2);
                bytes[start..].copy_from_slice(&weight.to_le_bytes());
            }
            WeightKind::BF16 => {
                let weight = half::bf16::from_f32(f32::from(byte()) * 0.01 - 1.2);
                bytes[start..].copy_from_slice(&weight.to_le_bytes());
            }
            WeightKind::Q8_0 | WeightKind::Q4_0 => bytes[start..start + 2].copy_from_slice(&scale),
            WeightKind::Q4_1 => {
                let minimum = half::f16::from_f32(-0.2 + 0.003 * (block % 40) as f32).to_le_bytes();
                bytes[start..start + 4].copy_from_slice(&[scale, minimum].concat());
            }
        }
    }
    bytes
}

fn words_tensor(words: &[u32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(words.to_vec(), [words.len()]), (device, DType::U32))
}

/// `quant_matmul` and `quant_rows` of one matrix against their references.
async fn packed_products_agree(kind: WeightKind, rows: usize, columns: usize, tokens: usize, device: &Device) {
    let shape = PackedShape::new(kind, rows, columns).unwrap();
    let words = pack(&file_blocks(kind, shape), shape);
    assert_eq!(words.len(), shape.words());
    let numbers: Vec<f32> = (0..tokens * columns).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();

    let expected = quant_matmul_reference(&numbers, &words, shape);
    let x = matrix(&numbers, [tokens, columns], device);
    // Sums of up to 352 products below 4, against f64: in f32, and with activations that are off by up to 1/65,000.
    for (activations, tolerance) in [(Activations::Exact, 1e-3), (Activations::Rounded, 4e-3)] {
        let name = format!("{} [{rows}, {columns}] x {tokens}, {activations:?}", kind.name());
        let product = |epilogue| quant_matmul(x.clone(), words_tensor(&words, device), epilogue, shape, activations);
        assert_close(&name, &floats(product(Epilogue::default())).await, &expected, tolerance);

        let (bias, residual) = (noise(rows, 31), noise(tokens * rows, 32));
        for (gelu, has_bias, has_residual) in [
            (None, true, false),
            (None, false, true),
            (Some(Gelu::Exact), false, false),
            (Some(Gelu::Tanh), true, true),
        ] {
            let epilogue = Epilogue {
                bias: has_bias.then(|| vector(&bias, device)),
                activation: gelu.map(Activation::Gelu),
                residual: has_residual.then(|| matrix(&residual, [tokens, rows], device)),
                ..Epilogue::default()
            };
            let mut known: Vec<f32> =
                expected.iter().enumerate().map(|(at, y)| if has_bias { y + bias[at % rows] } else { *y }).collect();
            if let Some(gelu) = gelu {
                known = gelu_reference(&known, gelu);
            }
            if has_residual {
                known.iter_mut().zip(&residual).for_each(|(y, residual)| *y += residual);
            }
            assert_close(&name, &floats(product(epilogue)).await, &known, tolerance);
        }

        let norm = noise(columns, 33);
        let epilogue = |is_swiglu| {
            let norm = Some(Norm { weight: vector(&norm, device), eps: 1e-5 });
            Epilogue { norm, is_swiglu, ..Epilogue::default() }
        };
        let normal = quant_matmul_reference(&rms_norm_reference(&numbers, &norm, 1e-5), &words, shape);
        assert_close(&name, &floats(product(epilogue(false))).await, &normal, 2.0 * tolerance);
        if rows.is_multiple_of(2) {
            // A product of two sums, each of which is some units large and as far off.
            let known = swiglu_reference(&normal, rows / 2);
            let largest = normal.iter().fold(1.0_f32, |largest, y| largest.max(y.abs()));
            assert_close(&name, &floats(product(epilogue(true))).await, &known, 4.0 * largest * tolerance);
        }
    }
    let name = format!("{} [{rows}, {columns}] x {tokens}", kind.name());

    let ids: Vec<u32> = (0..tokens).map(|i| (i * 3 % rows) as u32).collect();
    let wanted: Vec<usize> = ids.iter().map(|id| *id as usize).collect();
    let unpacked = floats(quant_rows(words_tensor(&words, device), words_tensor(&ids, device), shape)).await;
    assert_close(&name, &unpacked, &quant_rows_reference(&words, &wanted, shape), 1e-6);
}

async fn all_packed_products_agree(device: &Device) {
    for kind in WeightKind::ALL {
        for (rows, columns, tokens) in [(1, 32, 1), (5, 96, 1), (70, 352, 1), (1, 32, 2), (33, 64, 33), (70, 352, 5)] {
            packed_products_agree(kind, rows, columns, tokens, device).await;
        }
    }
    for kind in [WeightKind::F32, WeightKind::F16, WeightKind::BF16] {
        for tokens in [1, 3] {
            packed_products_agree(kind, 9, 4, tokens, device).await;
            packed_products_agree(kind, 9, 44, tokens, device).await;
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn packed_products_agree_with_plain_loops_on_the_cpu() {
    let device = cpu().await.device;
    all_packed_products_agree(&device).await;
    // More weights than are unpacked at a time.
    packed_products_agree(WeightKind::Q4_1, 20_000, 32, 2, &device).await;
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn rounded_activations_keep_zeros_and_what_is_not_finite() {
    let device = cpu().await.device;
    let shape = PackedShape::new(WeightKind::Q8_0, 3, 64).unwrap();
    let words = pack(&file_blocks(WeightKind::Q8_0, shape), shape);
    for tokens in [1, 2, 3] {
        let product = async |x: &[f32]| {
            let x = matrix(&x.repeat(tokens), [tokens, 64], &device);
            floats(quant_matmul(x, words_tensor(&words, &device), Epilogue::default(), shape, Activations::Rounded))
                .await
        };
        assert_eq!(product(&[0.0; 64]).await, vec![0.0; 3 * tokens]);
        for poison in [f32::NAN, f32::INFINITY] {
            let mut x = [0.5; 64];
            x[40] = poison;
            assert!(product(&x).await.iter().all(|y| !y.is_finite()), "{poison} does not vanish");
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn packed_products_agree_with_plain_loops_on_the_gpu() {
    all_packed_products_agree(&gpu().await.device).await;
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn more_than_65535_workgroups_on_the_gpu() {
    packed_products_agree(WeightKind::F16, 4 * 65_535 + 9, 4, 1, &gpu().await.device).await;
}
