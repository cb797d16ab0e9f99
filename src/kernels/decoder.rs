//! What a language model of the LLaMA family does between its products: our own WGSL on a GPU, where a layer would be some
//! fifty small operations of burn, and vector code on the CPU.

use burn::backend::flex::Flex;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, TensorMetadata, backend_extension};
use burn::tensor::{DType, Device, Int, Tensor};
use burn_cubecl::CubeBackend;
use burn_flex::FlexTensor;

use super::next_token::{MAX_RUN_AHEAD, words_data};
use super::sample_token::{DRAW, DeviceSampling};
use super::top2::TokenChoice;
use super::{append_kv, causal_attention, next_token, rms_norm, sample_token, swiglu, tensor, top2};

/// The steps of a decoder layer.
#[backend_extension(Cube, Flex)]
pub trait DecoderOps: Backend {
    /// See [`rms_norm`](fn@rms_norm).
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;
    /// See [`cached_attention`]; keys and values come back.
    fn cached_attention(
        rows: FloatTensor<Self>,
        rotation: FloatTensor<Self>,
        offset: IntTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    /// See [`swiglu`](fn@swiglu).
    fn swiglu(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`top2`](fn@top2).
    fn top2(logits: FloatTensor<Self>) -> IntTensor<Self>;
    /// See [`Next::choose`].
    fn sample_token(logits: FloatTensor<Self>, how: IntTensor<Self>, offset: IntTensor<Self>) -> IntTensor<Self>;
    /// See [`Next::take`]; id, offset and ring come back.
    fn next_token(
        found: IntTensor<Self>,
        id: IntTensor<Self>,
        offset: IntTensor<Self>,
        ring: IntTensor<Self>,
    ) -> (IntTensor<Self>, IntTensor<Self>, IntTensor<Self>);
    /// See [`Next::begin`].
    fn write_words(tensor: IntTensor<Self>, words: Vec<u32>) -> IntTensor<Self>;
}

impl DecoderOps for CubeBackend {
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        rms_norm::launch(x, weight, eps)
    }
    fn cached_attention(
        rows: FloatTensor<Self>,
        rotation: FloatTensor<Self>,
        offset: IntTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if rows.shape()[0] > 1 {
            append_kv::launch(rows.clone(), rotation.clone(), offset.clone(), &keys, &values);
        }
        (causal_attention::launch(rows, rotation, offset, &keys, &values), keys, values)
    }
    fn swiglu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        swiglu::launch(x)
    }
    fn top2(logits: FloatTensor<Self>) -> IntTensor<Self> {
        top2::launch(logits)
    }
    fn sample_token(logits: FloatTensor<Self>, how: IntTensor<Self>, offset: IntTensor<Self>) -> IntTensor<Self> {
        sample_token::launch(logits, how, offset)
    }
    fn next_token(
        found: IntTensor<Self>,
        id: IntTensor<Self>,
        offset: IntTensor<Self>,
        ring: IntTensor<Self>,
    ) -> (IntTensor<Self>, IntTensor<Self>, IntTensor<Self>) {
        next_token::launch(found, &id, &offset, &ring);
        (id, offset, ring)
    }
    fn write_words(tensor: IntTensor<Self>, words: Vec<u32>) -> IntTensor<Self> {
        next_token::write(&tensor, words);
        tensor
    }
}

impl DecoderOps for Flex {
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        rms_norm::normalize(&x, &weight, eps)
    }
    fn cached_attention(
        rows: FloatTensor<Self>,
        rotation: FloatTensor<Self>,
        offset: IntTensor<Self>,
        mut keys: FloatTensor<Self>,
        mut values: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        append_kv::append(&rows, &rotation, &offset, &mut keys, &mut values);
        (causal_attention::attend(&rows, &rotation, &offset, &keys, &values), keys, values)
    }
    fn swiglu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        swiglu::multiply(&x)
    }
    fn top2(logits: FloatTensor<Self>) -> IntTensor<Self> {
        tensor(top2::top2_reference(logits.to_contiguous().storage()).to_vec(), [TokenChoice::WORDS])
    }
    fn sample_token(logits: FloatTensor<Self>, how: IntTensor<Self>, offset: IntTensor<Self>) -> IntTensor<Self> {
        let (logits, how, offset) = (logits.to_contiguous(), how.to_contiguous(), offset.storage::<u32>()[0]);
        tensor(sample_token::sample_words(logits.storage(), how.storage(), offset).to_vec(), [TokenChoice::WORDS])
    }
    fn next_token(
        found: IntTensor<Self>,
        _id: IntTensor<Self>,
        offset: IntTensor<Self>,
        ring: IntTensor<Self>,
    ) -> (IntTensor<Self>, IntTensor<Self>, IntTensor<Self>) {
        next_token::next(&found, &offset, &ring)
    }
    fn write_words(_tensor: IntTensor<Self>, words: Vec<u32>) -> IntTensor<Self> {
        FlexTensor::from_data(words_data(words))
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

/// Causal self-attention of new positions, whose keys and values join the cache, in place. Queries and keys are turned to
/// their positions first (<https://arxiv.org/abs/2104.09864>).
///
/// # Shapes
/// - `rows`: `[T, (H + 2 KV) x D]`: the queries, the keys, then the values of a position
/// - `rotation`: `[capacity, D]`, for every position of the cache the cosines of the pairs `(i, i + D / 2)`, then their sines
/// - `offset`: `[1]` as u32, the position of the first; all of them must fit the cache
/// - output: `[T, H x D]`
pub fn cached_attention(
    rows: Tensor<2>,
    rotation: Tensor<2>,
    offset: Tensor<1, Int>,
    cache: Cache,
) -> (Tensor<2>, Cache) {
    assert_eq!(rotation.dims()[0], cache.keys.dims()[1], "positions with a rotation");
    let (keys, values) = (cache.keys.into_dispatch(), cache.values.into_dispatch());
    let (rows, rotation, offset) = (rows.into_dispatch(), rotation.into_dispatch(), offset.into_dispatch());
    let (mixed, keys, values) = Dispatch::cached_attention(rows, rotation, offset, keys, values);
    (Tensor::from_dispatch(mixed), Cache { keys: Tensor::from_dispatch(keys), values: Tensor::from_dispatch(values) })
}

/// The gate of SwiGLU, <https://arxiv.org/abs/2002.05202>: `silu(gate) * up`.
///
/// # Shapes
/// - `x`: `[T, 2 I]`, rows of `I` gates, then `I` numbers that they let through; output: `[T, I]`
pub fn swiglu(x: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::swiglu(x.into_dispatch()))
}

/// The two best tokens.
///
/// # Shapes
/// - `logits`: `[1, V]`, output: `[6]` as [`top2_reference`](super::top2_reference) has it
pub fn top2(logits: Tensor<2>) -> Tensor<1, Int> {
    Tensor::from_dispatch(Dispatch::top2(logits.into_dispatch()))
}

/// What a token that follows another is made from, on the device: nothing of it need pass through the CPU.
#[derive(Debug, Clone)]
pub struct Next {
    /// The token to read, `[1]`.
    pub id: Tensor<1, Int>,
    /// The position that it will have, `[1]`.
    pub offset: Tensor<1, Int>,
    /// What [`Next::choose`] found at the last [`MAX_RUN_AHEAD`] positions, each at its own modulo that: `[MAX_RUN_AHEAD x 6]`.
    pub ring: Tensor<1, Int>,
    /// The words of a [`DeviceSampling`], `[20]`, where tokens are drawn; the best is taken otherwise.
    draw: Option<Tensor<1, Int>>,
}

impl Next {
    /// Memory for one.
    pub fn new(is_sampled: bool, device: &Device) -> Self {
        let zeros = |count: usize| Tensor::from_data(words_data(vec![0; count]), (device, DType::U32));
        Self {
            id: zeros(1),
            offset: zeros(1),
            ring: zeros(MAX_RUN_AHEAD * TokenChoice::WORDS),
            draw: is_sampled.then(|| zeros(DRAW)),
        }
    }

    /// Whether tokens are drawn.
    pub fn is_sampled(&self) -> bool {
        self.draw.is_some()
    }

    /// Another token and offset, in the same memory where it is a GPU's; and how the next [`MAX_RUN_AHEAD`] tokens are drawn.
    pub fn begin(&mut self, id: u32, offset: u32, draw: Option<&DeviceSampling>) {
        write(&mut self.id, vec![id]);
        write(&mut self.offset, vec![offset]);
        if let (Some(words), Some(draw)) = (&mut self.draw, draw) {
            write(words, draw.words(offset));
        }
    }

    /// The token after the one at `offset`: the best, or one drawn.
    ///
    /// # Shapes
    /// - `logits`: `[1, V]`
    /// - output: `[6]` as [`top2_reference`](super::top2_reference) or
    ///   [`sample_token_reference`](super::sample_token_reference) has it
    pub fn choose(&self, logits: Tensor<2>) -> Tensor<1, Int> {
        let Some(draw) = &self.draw else { return top2(logits) };
        let [draw, offset] = [draw, &self.offset].map(|tensor| tensor.clone().into_dispatch());
        Tensor::from_dispatch(Dispatch::sample_token(logits.into_dispatch(), draw, offset))
    }

    /// What was chosen becomes the next token, in the same memory where it is a GPU's.
    pub fn take(&mut self, found: Tensor<1, Int>) {
        let [id, offset, ring] = [&self.id, &self.offset, &self.ring].map(|tensor| tensor.clone().into_dispatch());
        let (id, offset, ring) = Dispatch::next_token(found.into_dispatch(), id, offset, ring);
        self.id = Tensor::from_dispatch(id);
        self.offset = Tensor::from_dispatch(offset);
        self.ring = Tensor::from_dispatch(ring);
    }
}

fn write(tensor: &mut Tensor<1, Int>, words: Vec<u32>) {
    *tensor = Tensor::from_dispatch(Dispatch::write_words(tensor.clone().into_dispatch(), words));
}
