//! Products with plain f32 numbers, and what lies between two of them: our own WGSL on a GPU, vector code on the CPU.
//!
//! burn's generic GPU products choose among dozens of routines at run time and were a third of the browser package; those
//! of its CPU backend need all of it compiled for speed.

use burn::backend::flex::Flex;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
use burn_cubecl::CubeBackend;

use super::depthwise_conv2d::Filters;
use super::epilogue::{Epilogue, Steps};
use super::gelu::Gelu;
use super::{attention, conv2d, depthwise_conv2d, gelu, layer_norm, matmul};

/// The products that layers are made of.
#[backend_extension(Cube, Flex)]
pub trait DenseOps: Backend {
    /// See [`linear`].
    fn dense_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        steps: Steps,
    ) -> FloatTensor<Self>;
    /// See [`matmul`](fn@matmul).
    fn dense_matmul(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`conv2d`](fn@conv2d).
    fn dense_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self>;
    /// See [`depthwise_conv2d`](fn@depthwise_conv2d).
    fn dense_depthwise_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        filters: Filters,
    ) -> FloatTensor<Self>;
    /// See [`attention`](fn@attention).
    fn dense_attention(q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`softmax`].
    fn dense_softmax(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`layer_norm`](fn@layer_norm).
    fn dense_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self>;
    /// See [`gelu_of_kind`].
    fn dense_gelu(x: FloatTensor<Self>, kind: Gelu) -> FloatTensor<Self>;
}

impl DenseOps for CubeBackend {
    fn dense_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        steps: Steps,
    ) -> FloatTensor<Self> {
        matmul::launch_with(x, weight, [norm, bias, residual], steps)
    }
    fn dense_matmul(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        matmul::launch(a, b)
    }
    fn dense_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        conv2d::launch(x, weight, bias, stride, padding)
    }
    fn dense_depthwise_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        filters: Filters,
    ) -> FloatTensor<Self> {
        depthwise_conv2d::launch(x, weight, bias, filters)
    }
    fn dense_attention(q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>) -> FloatTensor<Self> {
        attention::launch(q, k, v)
    }
    fn dense_softmax(x: FloatTensor<Self>) -> FloatTensor<Self> {
        attention::softmax(x, 1.0)
    }
    fn dense_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        layer_norm::launch(x, weight, bias, eps)
    }
    fn dense_gelu(x: FloatTensor<Self>, kind: Gelu) -> FloatTensor<Self> {
        gelu::launch(x, kind)
    }
}

impl DenseOps for Flex {
    fn dense_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        steps: Steps,
    ) -> FloatTensor<Self> {
        matmul::multiply_with(x, weight, [norm, bias, residual], steps)
    }
    fn dense_matmul(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        matmul::multiply(a, b)
    }
    fn dense_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        conv2d::convolve(&x, &weight, &bias, stride, padding)
    }
    fn dense_depthwise_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        filters: Filters,
    ) -> FloatTensor<Self> {
        depthwise_conv2d::convolve(&x, &weight, &bias, filters)
    }
    fn dense_attention(q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>) -> FloatTensor<Self> {
        attention::attend(q, k, v)
    }
    fn dense_softmax(x: FloatTensor<Self>) -> FloatTensor<Self> {
        attention::weigh(&x)
    }
    fn dense_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        layer_norm::normalize(&x, &weight, &bias, eps)
    }
    fn dense_gelu(x: FloatTensor<Self>, kind: Gelu) -> FloatTensor<Self> {
        gelu::activate_all(&x, kind)
    }
}

/// `x W`, with what goes with it.
///
/// # Shapes
/// - `x`: `[T, K]`, `weight`: `[K, N]`
/// - output: `[T, N]`, `[T, N / 2]` where it is passed through SwiGLU
pub fn linear(x: Tensor<2>, weight: Tensor<2>, epilogue: Epilogue) -> Tensor<2> {
    epilogue.check(x.dims(), weight.dims()[1]);
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let ([norm, bias, residual], steps) = epilogue.into_parts(&x);
    Tensor::from_dispatch(Dispatch::dense_linear(x, weight, norm, bias, residual, steps))
}

/// `a b`, matrix by matrix; a dimension of the batch that is 1 in one of them serves the whole of the other's.
///
/// # Shapes
/// - `a`: `[.., M, K]`, `b`: `[.., K, N]`, up to two dimensions of batch
/// - output: `[.., M, N]`
pub fn matmul<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::dense_matmul(a.into_dispatch(), b.into_dispatch()))
}

/// A convolution over pixels.
///
/// # Shapes
/// - `x`: `[B, I, H, W]`, `weight`: `[O, I, K, K]`, `bias`: `[O]`
/// - output: `[B, O, (H + 2 padding - K) / stride + 1, (W + 2 padding - K) / stride + 1]`
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, stride: usize, padding: usize) -> Tensor<4> {
    let [x, weight] = [x, weight].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::dense_conv2d(x, weight, bias.into_dispatch(), stride, padding))
}

/// A convolution over pixels in which every channel has a filter of its own. `C` is a multiple of [`CHANNEL_GROUP`].
///
/// [`CHANNEL_GROUP`]: super::CHANNEL_GROUP
///
/// # Shapes
/// - `x`: `[H, W, C]`, `weight`: `[K * K, C]`, `bias`: `[C]`
/// - output: `[H', W', C]`, see [`Filters::output`]
pub fn depthwise_conv2d(x: Tensor<3>, weight: Tensor<2>, bias: Tensor<1>, filters: Filters) -> Tensor<3> {
    let [x, bias] = [x.into_dispatch(), bias.into_dispatch()];
    Tensor::from_dispatch(Dispatch::dense_depthwise_conv2d(x, weight.into_dispatch(), bias, filters))
}

/// Scores of an attention that are in memory at a time: half of what a binding of every adapter holds.
const MOST_SCORES: usize = 16 << 20;

/// `softmax(q k^T / sqrt(d)) v`.
///
/// # Shapes
/// - `q`: `[B, heads, T, d]`, `k`, `v`: `[B, heads, U, d]`
/// - output: `[B, heads, T, d]`
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    let ([batch, heads, read, _], [_, _, seen, _]) = (q.dims(), k.dims());
    let part = (MOST_SCORES / (batch * heads * seen)).max(1);
    if read > part {
        let parts = q.split(part, 2).into_iter().map(|q| attention(q, k.clone(), v.clone()));
        return Tensor::cat(parts.collect(), 2);
    }
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::dense_attention(q, k, v))
}

/// Softmax over the last dimension.
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::dense_softmax(x.into_dispatch()))
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias`, row by row. Where a row is wider than `weight`, as many numbers after
/// one another share a weight as there are more.
///
/// # Shapes
/// - `x`: `[R, W]`, `weight`, `bias`: `[A]` with `A` a divisor of `W`, output: `[R, W]`
pub fn layer_norm(x: Tensor<2>, weight: Tensor<1>, bias: Tensor<1>, eps: f32) -> Tensor<2> {
    let [x, weight, bias] = [x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()];
    Tensor::from_dispatch(Dispatch::dense_layer_norm(x, weight, bias, eps))
}

/// The exact GELU of every number.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    gelu_of_kind(x, Gelu::Exact)
}

/// The GELU that a checkpoint was trained with, of every number.
pub fn gelu_of_kind<const D: usize>(x: Tensor<D>, kind: Gelu) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::dense_gelu(x.into_dispatch(), kind))
}
