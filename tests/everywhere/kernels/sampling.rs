//! The choice of the next token.

use super::*;

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn top2_equals_its_reference() {
    let mut rows: Vec<Vec<f32>> = [1, 2, 255, 256, 257, 911, 5000].map(|count| noise(count, count as u64)).into();
    rows.push(vec![1.0, 3.0, 2.0, 3.0, -1.0]); // equals: the lower id first
    rows.push(vec![0.25; 700]);
    rows.push(vec![f32::MIN, -1e30, f32::MIN]);
    let mut poisoned = noise(600, 7);
    (poisoned[300], poisoned[511]) = (f32::NAN, -f32::NAN);
    rows.push(poisoned);
    rows.push(vec![f32::NAN; 3]);
    for device in [gpu().await.device, cpu().await.device] {
        for row in &rows {
            let found = words(top2(matrix(row, [1, row.len()], &device))).await;
            assert_eq!(found, top2_reference(row), "{} logits on {device:?}", row.len());
            assert!((found[0] as usize) < row.len(), "{} logits on {device:?}", row.len());
        }
    }
}

/// Rows of logits of all kinds, and how tokens are drawn from each: as few as can be and as many, from a few and from all.
fn rows_and_draws() -> Vec<(Vec<f32>, DeviceSampling)> {
    let scaled = |count: usize, by: f32| noise(count, count as u64).iter().map(|x| by * x).collect::<Vec<f32>>();
    let mut rows: Vec<Vec<f32>> = [1, 2, 40, 64, 65, 257, 911, 5000].map(|count| scaled(count, 4.0)).into();
    rows.push(vec![0.25; 700]); // equals: the lower ids
    rows.push([vec![-1.5; 300], vec![2.5; 300]].concat());
    rows.push((0..3000).map(|i| (i % 7) as f32).collect()); // more equals than are drawn among
    rows.push((0..900).map(|i| 1.0 + i as f32 * f32::EPSILON).collect()); // the last digit of the logit decides
    rows.push(vec![-1e30, -0.0, 0.0, f32::MIN]); // both zeros are equal
    let settings = [(1, 1.0, 1.0), (2, 0.5, 1.0), (40, 0.7, 0.95), (MAX_TOP_K, 3.0, 0.6), (MAX_TOP_K, 0.05, 1.0)];
    let with_settings = |row: Vec<f32>| {
        settings.map(|(top_k, temperature, top_p)| {
            (
                row.clone(),
                DeviceSampling {
                    top_k,
                    temperature,
                    top_p,
                    uniforms: std::array::from_fn(|i| (i as f32 + 0.37) / 16.0),
                },
            )
        })
    };
    rows.into_iter().flat_map(with_settings).collect()
}

/// Whether a token is drawn that is not the reference's, though a number so little different would draw it: sums are f32.
fn is_near(logits: &[f32], how: &DeviceSampling, at: usize, id: u32) -> bool {
    let with = |number: f32| {
        let mut how = *how;
        how.uniforms[at] = number;
        sample_token_reference(logits, &how, at)[0]
    };
    let number = how.uniforms[at];
    [-1e-5, 1e-5].iter().any(|little| with((number + little).clamp(0.0, 1.0)) == id)
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn sample_token_equals_its_reference() {
    const FIRST: u32 = 2_045; // the ring's rows are not in step with the numbers
    for device in [gpu().await.device, cpu().await.device] {
        let mut near = 0;
        for (row, how) in rows_and_draws() {
            let mut next = Next::new(true, &device);
            for at in [0, 3, 9, MAX_RUN_AHEAD - 1] {
                next.begin(0, FIRST, Some(&how));
                next.offset = word(FIRST as usize + at, &device);
                let found = words(next.choose(matrix(&row, [1, row.len()], &device))).await;
                let expected = sample_token_reference(&row, &how, at);
                assert_eq!(found[1..], expected[1..], "{} logits, {how:?} on {device:?}", row.len());
                if found[0] != expected[0] {
                    assert!(is_near(&row, &how, at, found[0]), "{found:?}, not {expected:?}: {how:?} on {device:?}");
                    near += 1;
                }
            }
        }
        assert!(near < 5, "{near} of 260 drawn otherwise on {device:?}");
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn sample_token_tells_of_what_is_no_number() {
    let how = DeviceSampling { top_k: 3, temperature: 1.0, top_p: 1.0, uniforms: [0.5; MAX_RUN_AHEAD] };
    let mut some = noise(600, 7);
    (some[300], some[511]) = (f32::NAN, -f32::NAN);
    for device in [gpu().await.device, cpu().await.device] {
        for row in [&some, &vec![f32::NAN; 3], &vec![f32::NAN, 1.0]] {
            let mut next = Next::new(true, &device);
            next.begin(0, 0, Some(&how));
            let found = words(next.choose(matrix(row, [1, row.len()], &device))).await;
            assert_eq!(found[1..], top2_reference(row)[1..], "{} logits on {device:?}", row.len());
            assert!((found[0] as usize) < row.len(), "{} logits on {device:?}", row.len());
        }
    }
}

#[wasm_bindgen_test(unsupported = tokio::test)]
async fn next_token_equals_its_reference() {
    for device in [gpu().await.device, cpu().await.device] {
        let mut next = Next::new(false, &device);
        next.begin(41, 30, None);
        let (mut offset, mut ring) = (30, vec![0; MAX_RUN_AHEAD * TokenChoice::WORDS]);
        // Once round the ring, and two further.
        for step in 0..MAX_RUN_AHEAD + 2 {
            let found: Vec<u32> = (0..TokenChoice::WORDS).map(|i| (100 * step + i) as u32).collect();
            let expected = next_token_reference(&found, offset, &ring);
            next.take(Tensor::from_data(TensorData::new(found, [TokenChoice::WORDS]), (&device, DType::U32)));
            let ours = (words(next.id.clone()).await, words(next.offset.clone()).await, words(next.ring.clone()).await);
            assert_eq!(ours, (vec![expected.0], vec![expected.1], expected.2.clone()), "step {step} on {device:?}");
            (_, offset, ring) = expected;
        }
        next.begin(5, 0, None);
        assert_eq!((words(next.id).await, words(next.offset).await), (vec![5], vec![0]));
    }
}

async fn words(tensor: Tensor<1, Int>) -> Vec<u32> {
    tensor.into_data_async().await.expect("the device answers").try_into_vec().expect("words")
}
