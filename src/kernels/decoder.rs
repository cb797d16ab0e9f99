//! What a language model of the LLaMA family does between its products: our own WGSL on a GPU, where a layer would be some
//! fifty small operations of burn, and vector code on the CPU.

use burn::backend::flex::Flex;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, TensorMetadata, backend_extension};
use burn::tensor::{Int, Tensor};
use burn_cubecl::CubeBackend;

use super::{append_keys, best_two, causal_attention, rms_norm, swiglu, tensor};

/// The steps of a decoder layer.
#[backend_extension(Cube, Flex)]
pub trait DecoderOps: Backend {
    /// See [`rms_norm`](fn@rms_norm).
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;
    /// See [`cached_attention`]; keys and values come back.
    fn cached_attention(
        rows: FloatTensor<Self>,
        rotation: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        start: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    /// See [`swiglu`](fn@swiglu).
    fn swiglu(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`best_two`](fn@best_two).
    fn best_two(logits: FloatTensor<Self>) -> (IntTensor<Self>, IntTensor<Self>);
}

impl DecoderOps for CubeBackend {
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        rms_norm::launch(x, weight, eps)
    }
    fn cached_attention(
        rows: FloatTensor<Self>,
        rotation: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        start: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if rows.shape()[0] > 1 {
            append_keys::launch(rows.clone(), rotation.clone(), &keys, &values, start);
        }
        (causal_attention::launch(rows, rotation, &keys, &values, start), keys, values)
    }
    fn swiglu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        swiglu::launch(x)
    }
    fn best_two(logits: FloatTensor<Self>) -> (IntTensor<Self>, IntTensor<Self>) {
        best_two::launch(logits)
    }
}

impl DecoderOps for Flex {
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        rms_norm::normalize(&x, &weight, eps)
    }
    fn cached_attention(
        rows: FloatTensor<Self>,
        rotation: FloatTensor<Self>,
        mut keys: FloatTensor<Self>,
        mut values: FloatTensor<Self>,
        start: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        append_keys::append(&rows, &rotation, &mut keys, &mut values, start);
        (causal_attention::attend(&rows, &rotation, &keys, &values, start), keys, values)
    }
    fn swiglu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        swiglu::multiply(&x)
    }
    fn best_two(logits: FloatTensor<Self>) -> (IntTensor<Self>, IntTensor<Self>) {
        let found = best_two::best_two_reference(logits.to_contiguous().storage());
        let last = logits.shape()[1] as u32 - 1;
        (tensor(vec![found[0].min(last)], [1]), tensor(found.to_vec(), [best_two::FOUND]))
    }
}

/// RMSNorm, <https://arxiv.org/abs/1910.07467>: `x / sqrt(mean(x^2) + eps) * weight`, row by row.
///
/// # Shapes
/// - `x`: `[T, H]`, `weight`: `[H]`, output: `[T, H]`
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, eps: f32) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::rms_norm(x.into_dispatch(), weight.into_dispatch(), eps))
}

/// Keys and values of a layer.
#[derive(Debug)]
pub struct Cache {
    /// `[KV, capacity, D]`
    pub keys: Tensor<3>,
    /// `[KV, capacity, D]`
    pub values: Tensor<3>,
}

/// Causal self-attention of new positions, from `start` on, whose keys and values join the cache, in place. Queries and
/// keys are turned to their positions first (<https://arxiv.org/abs/2104.09864>).
///
/// # Shapes
/// - `rows`: `[T, (H + 2 KV) x D]`: the queries, the keys, then the values of a position
/// - `rotation`: `[capacity, D]`, for every position of the cache the cosines of the pairs `(i, i + D / 2)`, then their sines
/// - output: `[T, H x D]`
///
/// # Panics
/// Where the positions do not fit the cache: the caller has made room.
pub fn cached_attention(rows: Tensor<2>, rotation: Tensor<2>, cache: Cache, start: usize) -> (Tensor<2>, Cache) {
    let ([tokens, _], [_, capacity, _]) = (rows.dims(), cache.keys.dims());
    assert!(start + tokens <= capacity, "{tokens} positions from {start} on in a cache of {capacity}");
    assert_eq!(rotation.dims()[0], capacity, "positions with a rotation");
    let (keys, values) = (cache.keys.into_dispatch(), cache.values.into_dispatch());
    let (rows, rotation) = (rows.into_dispatch(), rotation.into_dispatch());
    let (mixed, keys, values) = Dispatch::cached_attention(rows, rotation, keys, values, start);
    (Tensor::from_dispatch(mixed), Cache { keys: Tensor::from_dispatch(keys), values: Tensor::from_dispatch(values) })
}

/// The gate of SwiGLU, <https://arxiv.org/abs/2002.05202>: `silu(gate) * up`.
///
/// # Shapes
/// - `x`: `[T, 2 I]`, rows of `I` gates, then `I` numbers that they let through; output: `[T, I]`
pub fn swiglu(x: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::swiglu(x.into_dispatch()))
}

/// The two best tokens, and the better one's id apart, for [`quant_rows`](fn@super::quant_matmul::quant_rows) to read: the next
/// token need not pass through the CPU.
///
/// # Shapes
/// - `logits`: `[1, V]`
/// - output: `[1]`, always below `V`, and `[5]` as [`best_two_reference`](super::best_two_reference) has it
pub fn best_two(logits: Tensor<2>) -> (Tensor<1, Int>, Tensor<1, Int>) {
    let (id, found) = Dispatch::best_two(logits.into_dispatch());
    (Tensor::from_dispatch(id), Tensor::from_dispatch(found))
}
