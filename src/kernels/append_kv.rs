//! Keys and values of new positions, written behind those of a cache.

use burn::backend::TensorMetadata;
use burn::tensor::Shape;
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::launch::{APPEND_KV, Launch, dispatch_2d};

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
pub fn append_kv_reference(new: &[f32], cache: &[f32], shape: [usize; 3], start: usize) -> Vec<f32> {
    let [heads, capacity, head_dim] = shape;
    let mut cache = cache.to_vec();
    for (at, value) in new.iter().enumerate() {
        let (token, head, i) = (at / head_dim / heads, at / head_dim % heads, at % head_dim);
        cache[(head * capacity + start + token) * head_dim + i] = *value;
    }
    cache
}

/// `rows`: `[T, (H + 2 KV) x D]`, `rotation`: `[capacity, D]`, `offset`: `[1]`, `keys`, `values`: `[KV, capacity, D]`, written
/// in place.
pub(super) fn launch(
    rows: CubeTensor,
    rotation: CubeTensor,
    offset: CubeTensor,
    keys: &CubeTensor,
    values: &CubeTensor,
) {
    let heads = Heads::new(rows.meta.shape()[1], keys.meta.shape());
    let tokens = rows.meta.shape()[0];
    let params = [tokens, heads.queries, heads.keys, heads.dim, heads.capacity].map(|number| number as u32);
    let launch =
        Launch::new(APPEND_KV, rows).input(rotation).input(offset).params(&params).in_place(keys).in_place(values);
    launch.run(dispatch_2d((tokens * heads.keys * heads.dim / 2).div_ceil(APPEND_KV.workgroup as usize)));
}

/// How a row of heads is divided: the queries, the keys, then the values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    /// Heads of queries.
    pub queries: usize,
    /// Heads of keys, and of values.
    pub keys: usize,
    /// Width of a head.
    pub dim: usize,
    /// Positions in a cache.
    pub capacity: usize,
}

impl Heads {
    /// Of a row of so many numbers, and a cache `[KV, capacity, D]`.
    pub fn new(width: usize, cache: &Shape) -> Self {
        let [keys, capacity, dim] = [cache[0], cache[1], cache[2]];
        Self { queries: width / dim - 2 * keys, keys, dim, capacity }
    }

    /// Numbers in a row.
    pub fn width(self) -> usize {
        (self.queries + 2 * self.keys) * self.dim
    }
}

/// [`launch`] on the CPU.
pub(super) fn append(
    rows: &FlexTensor,
    rotation: &FlexTensor,
    offset: &FlexTensor,
    keys: &mut FlexTensor,
    values: &mut FlexTensor,
) {
    let start = offset.storage::<u32>()[0] as usize;
    let heads = Heads::new(rows.shape()[1], &keys.shape());
    let Heads { dim, capacity, .. } = heads;
    let (rows, rotation) = (rows.to_contiguous(), rotation.to_contiguous());
    let (keys, values) = (keys.storage_mut::<f32>(), values.storage_mut::<f32>());
    let angles = rotation.storage::<f32>().chunks_exact(dim).skip(start);
    for ((at, row), angles) in (start..).zip(rows.storage::<f32>().chunks_exact(heads.width())).zip(angles) {
        let (new_keys, new_values) = row[heads.queries * dim..].split_at(heads.keys * dim);
        for (head, (key, value)) in new_keys.chunks_exact(dim).zip(new_values.chunks_exact(dim)).enumerate() {
            let to = (head * capacity + at) * dim;
            rotate(key, angles, &mut keys[to..][..dim]);
            values[to..][..dim].copy_from_slice(value);
        }
    }
}

/// One head turned to its position.
pub(super) fn rotate(head: &[f32], angles: &[f32], rotated: &mut [f32]) {
    let half = head.len() / 2;
    let ((first, second), (cosines, sines)) = (head.split_at(half), angles.split_at(half));
    let (turned_first, turned_second) = rotated.split_at_mut(half);
    for i in 0..half {
        turned_first[i] = first[i] * cosines[i] - second[i] * sines[i];
        turned_second[i] = second[i] * cosines[i] + first[i] * sines[i];
    }
}
