//! Multi-head attention, over a whole sequence or within segments of it.

use burn::tensor::Tensor;

use crate::Result;
use crate::kernels::dense::{attention, matmul, softmax};
use crate::nn::linear::Linear;
use crate::nn::tensor_store::TensorStore;

/// Multi-head attention.
#[derive(Debug, Clone)]
pub struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    heads: usize,
}

impl Attention {
    /// Takes `{name}.{q,k,v,out}`; SigLIP calls them otherwise, so the four names are given.
    pub fn load(store: &mut TensorStore, name: &str, names: [&str; 4], width: usize, heads: usize) -> Result<Self> {
        let mut linear = |part: &str| Linear::load(store, &format!("{name}.{part}"), width, width);
        Ok(Self { q: linear(names[0])?, k: linear(names[1])?, v: linear(names[2])?, out: linear(names[3])?, heads })
    }

    /// Every position of `x` looks at every position of `context`; what comes of it is added to `residual`.
    ///
    /// # Shapes
    /// - `residual`, `x`: `[B, T, width]`
    /// - `context`: `[B, U, width]`
    /// - output: `[B, T, width]`
    pub fn forward(&self, residual: Tensor<3>, x: Tensor<3>, context: Tensor<3>) -> Tensor<3> {
        let mixed = self.mix(self.q.forward(x), self.k.forward(context.clone()), self.v.forward(context));
        self.out.forward_onto(residual, mixed)
    }

    /// Self-attention within consecutive segments of the given lengths, as if each were a sequence of its own. Costs the
    /// sum of the squared lengths, not the square of the sum.
    ///
    /// # Shapes
    /// - `residual`, `x`: `[1, T, width]` with `T` the sum of `segments`
    /// - output: `[1, T, width]`
    pub fn forward_segments(&self, residual: Tensor<3>, x: Tensor<3>, segments: &[usize]) -> Tensor<3> {
        let [q, k, v] = [&self.q, &self.k, &self.v].map(|linear| linear.forward(x.clone()));
        let mut start = 0;
        let mixed = segments
            .iter()
            .map(|&length| {
                let [q, k, v] = [&q, &k, &v].map(|t| t.clone().narrow(1, start, length));
                start += length;
                self.mix(q, k, v)
            })
            .collect();
        self.out.forward_onto(residual, Tensor::cat(mixed, 1))
    }

    /// Where each position of `x` looks in `context`: the attention map, averaged over heads.
    ///
    /// # Shapes
    /// - `x`: `[B, T, width]`
    /// - `context`: `[B, U, width]`
    /// - output: `[B, T, U]`
    pub fn weights(&self, x: Tensor<3>, context: Tensor<3>) -> Tensor<3> {
        let [_, _, width] = x.dims();
        let (q, k) = (self.split(self.q.forward(x)), self.split(self.k.forward(context)));
        let logits = matmul(q, k.swap_dims(2, 3)) / ((width / self.heads) as f64).sqrt(); // [b, heads, t, u]
        let shares = softmax(logits) / self.heads as f64;
        let of_head = |head| shares.clone().narrow(1, head, 1).squeeze_dim::<3>(1);
        (1..self.heads).fold(of_head(0), |sum, head| sum + of_head(head))
    }

    fn mix(&self, q: Tensor<3>, k: Tensor<3>, v: Tensor<3>) -> Tensor<3> {
        let [b, t, width] = q.dims();
        let [q, k, v] = [q, k, v].map(|x| self.split(x));
        attention(q, k, v).swap_dims(1, 2).reshape([b, t, width])
    }

    /// `[B, T, width]` -> `[B, heads, T, width / heads]`.
    fn split(&self, x: Tensor<3>) -> Tensor<4> {
        let [b, t, width] = x.dims();
        x.reshape([b, t, self.heads, width / self.heads]).swap_dims(1, 2)
    }
}
