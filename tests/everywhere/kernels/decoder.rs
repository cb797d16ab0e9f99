//! What a decoder does between products.

use super::*;

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn rms_norm_equals_its_reference() {
    for device in [gpu().await.device, cpu().await.device] {
        for (rows, width) in [(1, 1), (3, 64), (5, 100), (2, 576)] {
            let (x, weight) = (noise(rows * width, 22), noise(width, 23));
            let ours = floats(rms_norm(matrix(&x, [rows, width], &device), vector(&weight, &device), 1e-5)).await;
            assert_close(&format!("{rows} x {width}"), &ours, &rms_norm_reference(&x, &weight, 1e-5), TOLERANCE);
        }
        let poisoned = matrix(&[1.0, f32::NAN, 2.0], [1, 3], &device);
        let ours = floats(rms_norm(poisoned, vector(&[1.0; 3], &device), 1e-5)).await;
        assert!(ours.iter().all(|y| y.is_nan()), "{ours:?}");
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn swiglu_equals_its_reference() {
    for device in [gpu().await.device, cpu().await.device] {
        let mut gates: Vec<f32> = (-300..=300).map(|i| i as f32 / 10.0).collect();
        gates.extend([0.0, -1e30, 1e30, 100.0, -100.0]);
        let up = noise(gates.len(), 24);
        for width in [1, 3, gates.len()] {
            let rows = gates.chunks_exact(width).zip(up.chunks_exact(width));
            let x: Vec<f32> = rows.flat_map(|(gates, up)| [gates, up].concat()).collect();
            let ours = floats(swiglu(matrix(&x, [x.len() / 2 / width, 2 * width], &device))).await;
            for ((gate, ours), expected) in gates.iter().zip(&ours).zip(swiglu_reference(&x, width)) {
                let tolerance = 1e-6 * gate.abs().max(1.0);
                assert!(
                    (ours - expected).abs() <= tolerance,
                    "silu({gate}): ours {ours}, theirs {expected}, {device:?}"
                );
            }
        }
        assert!(floats(swiglu(matrix(&[f32::NAN, 1.0], [1, 2], &device))).await[0].is_nan());
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn append_kv_and_causal_attention_equal_their_references() {
    cached_attention_on(&gpu().await.device).await;
    cached_attention_on(&cpu().await.device).await;
}

/// Two rounds with one cache: the second reads what the first wrote.
async fn cached_attention_on(device: &Device) {
    // Query heads, [heads of keys, capacity, head dim], positions of either round: the narrowest head, a width that leaves
    // lanes idle, tiles of keys that are full, and one key more, the widest head.
    for (heads, shape, rounds) in [
        (1, [1, 2, 4], [1, 1]),
        (6, [2, 40, 12], [33, 7]),
        (4, [4, 130, 64], [64, 1]),
        (3, [1, 300, 40], [257, 5]),
        (2, [1, 6, 256], [1, 4]),
        // One after a span of positions, and after two and a bit.
        (4, [2, 520, 8], [512, 1]),
        (3, [1, 1100, 4], [1030, 1]),
    ] {
        let [key_heads, capacity, head_dim] = shape;
        let (mut keys, mut values) =
            (noise(key_heads * capacity * head_dim, 25), noise(key_heads * capacity * head_dim, 26));
        let cached = |values: &[f32]| vector(values, device).reshape(shape);
        let mut cache = Cache { keys: cached(&keys), values: cached(&values) };
        let rotation = noise(capacity * head_dim, 30);
        let mut start = 0;
        for tokens in rounds {
            let numbers = |width: usize, seed: u64| noise(tokens * width, seed + start as u64);
            let (q, k, v) =
                (numbers(heads * head_dim, 27), numbers(key_heads * head_dim, 28), numbers(key_heads * head_dim, 29));
            let turns = &rotation[start * head_dim..][..tokens * head_dim];
            keys = append_kv_reference(&rotate_reference(&k, turns, head_dim), &keys, shape, start);
            values = append_kv_reference(&v, &values, shape, start);
            let expected = causal_attention_reference(&q, turns, [&keys, &values], shape, start);

            let of_token = |x: &[f32], at: usize| x[at * x.len() / tokens..][..x.len() / tokens].to_vec();
            let rows: Vec<f32> = (0..tokens).flat_map(|at| [&q, &k, &v].map(|x| of_token(x, at)).concat()).collect();
            let rows = matrix(&rows, [tokens, rows.len() / tokens], device);
            let (angles, offset) = (matrix(&rotation, [capacity, head_dim], device), word(start, device));
            let (mixed, next) = cached_attention(rows, angles, offset, cache);
            let name = format!("{heads} heads, {shape:?}, {tokens} from {start} on");
            assert_close(&name, &floats(mixed).await, &expected, TOLERANCE);
            assert_close(&name, &floats(next.keys.clone()).await, &keys, TOLERANCE);
            assert_close(&name, &floats(next.values.clone()).await, &values, 0.0);
            cache = next;
            start += tokens;
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn causal_attention_survives_scores_far_apart_and_shows_what_is_no_number() {
    for device in [gpu().await.device, cpu().await.device] {
        let cached = |x: &[f32]| vector(x, &device).reshape([1, 3, 4]);
        let unturned = [1.0, 1.0, 0.0, 0.0].repeat(3);
        let attend = async |q: [f32; 4]| {
            // Two positions are there; the third looks at them and at itself.
            let keys = cached(&[90.0, 0.0, 0.0, 0.0, -90.0, 0.0, 0.0, 0.0, 7.0, 7.0, 7.0, 7.0]);
            let values = cached(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 0.0, 0.0, 0.0, 0.0]);
            let rows = matrix(&[q, [0.0; 4], [9.0; 4]].concat(), [1, 12], &device);
            let (angles, offset) = (matrix(&unturned, [3, 4], &device), word(2, &device));
            floats(cached_attention(rows, angles, offset, Cache { keys, values }).0).await
        };
        assert_close("far apart", &attend([100.0, 0.0, 0.0, 0.0]).await, &[1.0, 2.0, 3.0, 4.0], 1e-6);
        assert_close("the other way", &attend([-100.0, 0.0, 0.0, 0.0]).await, &[5.0, 6.0, 7.0, 8.0], 1e-6);
        assert!(attend([f32::NAN, 0.0, 0.0, 0.0]).await.iter().all(|y| y.is_nan()));
    }
}
