//! The few layers that the encoder, the merger and the detokenizer are made of, loaded by their checkpoint names.

use burn::tensor::{Device, Tensor};

use crate::Result;
use crate::kernels::Gelu;
use crate::kernels::dense::{attention, conv2d, layer_norm, matmul, softmax};
use crate::kernels::fused::Fused;
use crate::weights::TensorStore;

/// `y = x W^T + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`, packed where the file has it packed.
    weight: crate::llm::Linear,
    bias: Tensor<1>,
}

impl Linear {
    /// Takes `{name}.weight` `[output, input]` and `{name}.bias`.
    pub fn load(store: &mut TensorStore, name: &str, input: usize, output: usize) -> Result<Self> {
        let weight = crate::llm::Linear::new(store.take_rows(&format!("{name}.weight"), [output, input])?);
        Ok(Self { weight, bias: store.take(&format!("{name}.bias"), [output])? })
    }

    /// # Shapes
    /// - `x`: `[.., in]`
    /// - output: `[.., out]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.forward_fused(x, Fused::default())
    }

    /// What a GELU makes of it.
    pub fn forward_gelu<const D: usize>(&self, x: Tensor<D>, gelu: Gelu) -> Tensor<D> {
        self.forward_fused(x, Fused { gelu: Some(gelu), ..Fused::default() })
    }

    /// What it makes of `x`, added to `stream`.
    ///
    /// # Shapes
    /// - `x`: `[.., in]`
    /// - `stream`, output: `[.., out]`
    pub fn forward_onto<const D: usize>(&self, stream: Tensor<D>, x: Tensor<D>) -> Tensor<D> {
        self.forward_fused(x, Fused { stream: Some(stream.flatten(0, D - 2)), ..Fused::default() })
    }

    fn forward_fused<const D: usize>(&self, x: Tensor<D>, fused: Fused) -> Tensor<D> {
        let mut dims = x.dims();
        let y = self.weight.forward_fused(x.flatten(0, D - 2), Fused { bias: Some(self.bias.clone()), ..fused });
        [_, dims[D - 1]] = y.dims();
        y.reshape(dims)
    }
}

/// LayerNorm over the last dimension.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
}

impl LayerNorm {
    /// Takes `{name}.weight` and `{name}.bias`.
    pub fn load(store: &mut TensorStore, name: &str, width: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: store.take(&format!("{name}.weight"), [width])?,
            bias: store.take(&format!("{name}.bias"), [width])?,
            eps,
        })
    }

    /// LayerNorm that learns nothing.
    pub fn without_affine(width: usize, eps: f64, device: &Device) -> Self {
        Self { weight: Tensor::ones([width], device), bias: Tensor::zeros([width], device), eps }
    }

    /// # Shapes
    /// - `x`, output: `[.., width]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let shape = x.shape();
        let rows = x.flatten(0, D - 2);
        layer_norm(rows, self.weight.clone(), self.bias.clone(), self.eps as f32).reshape(shape)
    }
}

/// GroupNorm with one group: mean and variance over channels, rows and columns together.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
}

impl GroupNorm {
    /// Takes `{name}.weight` and `{name}.bias`.
    pub fn load(store: &mut TensorStore, name: &str, channels: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: store.take(&format!("{name}.weight"), [channels])?,
            bias: store.take(&format!("{name}.bias"), [channels])?,
            eps,
        })
    }

    /// # Shapes
    /// - `x`, output: `[B, channels, h, w]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shape = x.shape();
        layer_norm(x.flatten(1, 3), self.weight.clone(), self.bias.clone(), self.eps as f32).reshape(shape)
    }
}

/// Convolution over pixels.
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// Takes `{name}.weight` `[output, input, kernel, kernel]` and `{name}.bias`. Padding keeps `kernel / 2` pixels at
    /// stride below `kernel`, and none for patches (`stride == kernel`).
    pub fn load(
        store: &mut TensorStore,
        name: &str,
        [input, output]: [usize; 2],
        kernel: usize,
        stride: usize,
    ) -> Result<Self> {
        Ok(Self {
            weight: store.take(&format!("{name}.weight"), [output, input, kernel, kernel])?,
            bias: store.take(&format!("{name}.bias"), [output])?,
            stride,
            padding: if stride == kernel { 0 } else { kernel / 2 },
        })
    }

    /// # Shapes
    /// - `x`: `[B, in, h, w]`
    /// - output: `[B, out, h / stride, w / stride]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d(x, self.weight.clone(), self.bias.clone(), self.stride, self.padding)
    }
}

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

    /// Every position of `x` looks at every position of `context`; what comes of it is added to `stream`.
    ///
    /// # Shapes
    /// - `stream`, `x`: `[B, T, width]`
    /// - `context`: `[B, U, width]`
    /// - output: `[B, T, width]`
    pub fn forward(&self, stream: Tensor<3>, x: Tensor<3>, context: Tensor<3>) -> Tensor<3> {
        let mixed = self.mix(self.q.forward(x), self.k.forward(context.clone()), self.v.forward(context));
        self.out.forward_onto(stream, mixed)
    }

    /// Self-attention within consecutive segments of the given lengths, as if each were a sequence of its own. Costs the
    /// sum of the squared lengths, not the square of the sum.
    ///
    /// # Shapes
    /// - `stream`, `x`: `[1, T, width]` with `T` the sum of `segments`
    /// - output: `[1, T, width]`
    pub fn forward_segments(&self, stream: Tensor<3>, x: Tensor<3>, segments: &[usize]) -> Tensor<3> {
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
        self.out.forward_onto(stream, Tensor::cat(mixed, 1))
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

/// What our own checkpoints call the four layers of an [`Attention`].
const OUR_NAMES: [&str; 4] = ["q", "k", "v", "out"];

/// Two-layer feed-forward.
#[derive(Debug, Clone)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
    gelu: Gelu,
}

impl Mlp {
    /// Takes `{name}.fc1` and `{name}.fc2`.
    pub fn load(store: &mut TensorStore, name: &str, width: usize, hidden: usize, gelu: Gelu) -> Result<Self> {
        Ok(Self {
            fc1: Linear::load(store, &format!("{name}.fc1"), width, hidden)?,
            fc2: Linear::load(store, &format!("{name}.fc2"), hidden, width)?,
            gelu,
        })
    }

    /// What it makes of `x`, added to `stream`.
    ///
    /// # Shapes
    /// - `stream`, `x`, output: `[B, T, width]`
    pub fn forward(&self, stream: Tensor<3>, x: Tensor<3>) -> Tensor<3> {
        self.fc2.forward_onto(stream, self.fc1.forward_gelu(x, self.gelu))
    }
}

/// Pre-norm transformer block: `x + attn(norm1(x))`, then `x + mlp(norm2(x))`.
#[derive(Debug, Clone)]
pub struct Block {
    norm1: LayerNorm,
    attn: Attention,
    /// None in the first blocks of a row that feeds forward once, at its end.
    feed_forward: Option<(LayerNorm, Mlp)>,
}

/// Sizes of a [`Block`].
#[derive(Debug, Clone, Copy)]
pub struct BlockSize {
    pub width: usize,
    pub heads: usize,
    pub hidden: usize,
    pub eps: f64,
}

impl Block {
    /// Takes `{name}.{norm1, attn.{q,k,v,out}, norm2, mlp.{fc1,fc2}}`.
    pub fn load(store: &mut TensorStore, name: &str, size: BlockSize) -> Result<Self> {
        let mlp = Mlp::load(store, &format!("{name}.mlp"), size.width, size.hidden, Gelu::Exact)?;
        Ok(Self {
            norm1: LayerNorm::load(store, &format!("{name}.norm1"), size.width, size.eps)?,
            attn: Attention::load(store, &format!("{name}.attn"), OUR_NAMES, size.width, size.heads)?,
            feed_forward: Some((LayerNorm::load(store, &format!("{name}.norm2"), size.width, size.eps)?, mlp)),
        })
    }

    /// The reference code's `Block`: attention layers under one norm, then one MLP. Takes
    /// `{name}.{norm1, i.attn.{q,k,v,out}, norm2, mlp.{fc1,fc2}}`; `depth` is at least 1.
    pub fn load_shared(store: &mut TensorStore, name: &str, depth: usize, size: BlockSize) -> Result<Vec<Self>> {
        let norm1 = LayerNorm::load(store, &format!("{name}.norm1"), size.width, size.eps)?;
        let norm2 = LayerNorm::load(store, &format!("{name}.norm2"), size.width, size.eps)?;
        let mlp = Mlp::load(store, &format!("{name}.mlp"), size.width, size.hidden, Gelu::Exact)?;
        let mut blocks = Vec::new();
        for i in 0..depth {
            let attn = Attention::load(store, &format!("{name}.{i}.attn"), OUR_NAMES, size.width, size.heads)?;
            blocks.push(Self { norm1: norm1.clone(), attn, feed_forward: None });
        }
        if let Some(last) = blocks.last_mut() {
            last.feed_forward = Some((norm2, mlp));
        }
        Ok(blocks)
    }

    /// SigLIP's names and activation.
    pub fn load_siglip(store: &mut TensorStore, name: &str, size: BlockSize, gelu: Gelu) -> Result<Self> {
        let names = ["q_proj", "k_proj", "v_proj", "out_proj"];
        let mlp = Mlp::load(store, &format!("{name}.mlp"), size.width, size.hidden, gelu)?;
        Ok(Self {
            norm1: LayerNorm::load(store, &format!("{name}.layer_norm1"), size.width, size.eps)?,
            attn: Attention::load(store, &format!("{name}.self_attn"), names, size.width, size.heads)?,
            feed_forward: Some((LayerNorm::load(store, &format!("{name}.layer_norm2"), size.width, size.eps)?, mlp)),
        })
    }

    /// # Shapes
    /// - `x`, output: `[B, T, width]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let normal = self.norm1.forward(x.clone());
        self.feed_forward(self.attn.forward(x, normal.clone(), normal))
    }

    /// Like [`Block::forward`], with attention kept inside consecutive segments.
    pub fn forward_segments(&self, x: Tensor<3>, segments: &[usize]) -> Tensor<3> {
        let normal = self.norm1.forward(x.clone());
        self.feed_forward(self.attn.forward_segments(x, normal, segments))
    }

    fn feed_forward(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.feed_forward {
            Some((norm, mlp)) => {
                let normal = norm.forward(x.clone());
                mlp.forward(x, normal)
            }
            None => x,
        }
    }
}
