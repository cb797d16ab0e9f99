//! Transformer blocks with pre-norm, under the names of the checkpoints that they come from.

use burn::tensor::Tensor;

use crate::Result;
use crate::kernels::Gelu;
use crate::nn::attention::Attention;
use crate::nn::linear::Linear;
use crate::nn::norms::LayerNorm;
use crate::nn::tensor_store::TensorStore;

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

    /// What it makes of `x`, added to `residual`.
    ///
    /// # Shapes
    /// - `residual`, `x`, output: `[B, T, width]`
    pub fn forward(&self, residual: Tensor<3>, x: Tensor<3>) -> Tensor<3> {
        self.fc2.forward_onto(residual, self.fc1.forward_gelu(x, self.gelu))
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
    /// Width of what comes in and goes out.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Inner width of the MLP.
    pub hidden: usize,
    /// Epsilon of the norms.
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
