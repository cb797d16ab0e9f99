//! Keys and values of new positions, written behind those of a cache.

use burn::backend::TensorMetadata;
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::launch::{APPEND_KEYS, Launch, dispatch_2d};

/// Heads turned to their positions, in the plainest form: pairs `(i, i + D / 2)` by the angles of a position.
///
/// # Shapes
/// - `x`: `[T, heads, D]`, `rotation`: `[T, D]`, cosines of the pairs, then their sines; output: `[T, heads, D]`
pub fn rotate_reference(x: &[f32], rotation: &[f32], head_dim: usize) -> Vec<f32> {
    let (tokens, half) = (rotation.len() / head_dim, head_dim / 2);
    let heads = x.len() / tokens / head_dim;
    let number = |at: usize| {
        let (head, i) = (at / head_dim * head_dim, at % head_dim);
        let angles = &rotation[at / head_dim / heads * head_dim..][..head_dim];
        let [cosine, sine] = [angles[i % half], angles[half + i % half]].map(f64::from);
        let [first, second] = [x[head + i % half], x[head + half + i % half]].map(f64::from);
        (if i < half { first * cosine - second * sine } else { second * cosine + first * sine }) as f32
    };
    (0..x.len()).map(number).collect()
}

/// What keys and values are after new ones have been written from position `start` on, in the plainest form.
///
/// # Shapes
/// - `new`: keys, already turned, or values, `[T, KV, D]`; `cache`: `[KV, capacity, D]`, as is the output
pub fn append_keys_reference(new: &[f32], cache: &[f32], shape: [usize; 3], start: usize) -> Vec<f32> {
    let [heads, capacity, head_dim] = shape;
    let mut cache = cache.to_vec();
    for (at, value) in new.iter().enumerate() {
        let (token, head, i) = (at / head_dim / heads, at / head_dim % heads, at % head_dim);
        cache[(head * capacity + start + token) * head_dim + i] = *value;
    }
    cache
}

/// `k`, `v`: `[T, KV x D]`, `rotation`: `[T, D]`, `keys`, `values`: `[KV, capacity, D]`, written in place.
pub(super) fn launch(
    k: CubeTensor,
    v: CubeTensor,
    rotation: CubeTensor,
    keys: &CubeTensor,
    values: &CubeTensor,
    start: usize,
) {
    let (tokens, cache) = (k.meta.shape()[0], keys.meta.shape());
    let [heads, capacity, head_dim] = [cache[0], cache[1], cache[2]];
    let params = [tokens, heads, head_dim, capacity, start].map(|number| number as u32);
    let launch = Launch::new(APPEND_KEYS, k).input(v).input(rotation).params(&params).in_place(keys).in_place(values);
    launch.run(dispatch_2d((tokens * heads * head_dim / 2).div_ceil(APPEND_KEYS.workgroup as usize)));
}

/// [`launch`] on the CPU.
pub(super) fn append(
    k: &FlexTensor,
    v: &FlexTensor,
    rotation: &FlexTensor,
    keys: &mut FlexTensor,
    values: &mut FlexTensor,
    start: usize,
) {
    let (cache, k, v, rotation) = (keys.shape(), k.to_contiguous(), v.to_contiguous(), rotation.to_contiguous());
    let [heads, capacity, head_dim] = [cache[0], cache[1], cache[2]];
    let (k, v, rotation) = (k.storage::<f32>(), v.storage::<f32>(), rotation.storage::<f32>());
    let (keys, values) = (keys.storage_mut::<f32>(), values.storage_mut::<f32>());
    for (at, (k, v)) in k.chunks_exact(head_dim).zip(v.chunks_exact(head_dim)).enumerate() {
        let (token, head) = (at / heads, at % heads);
        let to = (head * capacity + start + token) * head_dim;
        rotate(k, &rotation[token * head_dim..][..head_dim], &mut keys[to..][..head_dim]);
        values[to..][..head_dim].copy_from_slice(v);
    }
}

/// One head turned to its position.
pub(super) fn rotate(head: &[f32], angles: &[f32], turned: &mut [f32]) {
    let half = head.len() / 2;
    let ((first, second), (cosines, sines)) = (head.split_at(half), angles.split_at(half));
    let (turned_first, turned_second) = turned.split_at_mut(half);
    for i in 0..half {
        turned_first[i] = first[i] * cosines[i] - second[i] * sines[i];
        turned_second[i] = second[i] * cosines[i] + first[i] * sines[i];
    }
}
