//! Our encoder: a convolutional stem that halves the image at every step, then a pre-norm ViT without a final norm (the
//! clustering brings its own).

use burn::tensor::Tensor;

use super::patches_from_map;
use crate::Result;
use crate::kernels::dense::gelu;
use crate::model::config::VitConfig;
use crate::nn::block::{Block, BlockSize};
use crate::nn::conv::Conv2d;
use crate::nn::norms::GroupNorm;
use crate::nn::tensor_store::TensorStore;

const STEM_KERNEL: usize = 3;
const STEM_STRIDE: usize = 2;

/// ViT with a convolutional stem; tensors `vision.{stem.i, stem_norm.i, pos, blocks.i}`.
#[derive(Debug)]
pub struct Vit {
    stem: Vec<Conv2d>,
    stem_norm: Vec<GroupNorm>, // one fewer than `stem`: the last convolution goes straight into the blocks
    pos: Tensor<2>,            // [N, C]
    blocks: Vec<Block>,
}

impl Vit {
    /// Takes its tensors, `vision.*`.
    ///
    /// # Errors
    /// What [`TensorStore::take`] says.
    pub fn load(store: &mut TensorStore, config: &VitConfig) -> Result<Self> {
        let channels = [&[3], config.stem_channels.as_slice(), &[config.width]].concat();
        let stem = channels.windows(2).enumerate().map(|(i, pair)| {
            Conv2d::load(store, &format!("vision.stem.{i}"), [pair[0], pair[1]], STEM_KERNEL, STEM_STRIDE)
        });
        let stem = stem.collect::<Result<_>>()?;
        let norm = |(i, &channels): (usize, &usize)| {
            GroupNorm::load(store, &format!("vision.stem_norm.{i}"), channels, config.norm_eps)
        };
        let stem_norm = config.stem_channels.iter().enumerate().map(norm).collect::<Result<_>>()?;
        let side = config.image_size / config.patch_size;
        let pos = store.take("vision.pos", [side * side, config.width])?;
        let size = BlockSize {
            width: config.width,
            heads: config.heads,
            hidden: config.width * config.mlp_ratio,
            eps: config.norm_eps,
        };
        let block = |i| Block::load(store, &format!("vision.blocks.{i}"), size);
        let blocks = (0..config.depth).map(block).collect::<Result<_>>()?;
        Ok(Self { stem, stem_norm, pos, blocks })
    }

    /// # Shapes
    /// - `pixels`: `[B, 3, S, S]`
    /// - output: `[B, N, C]`, and the stem's stages after their GELU: `[B, C_i, S / 2^i, S / 2^i]`
    pub fn forward_with_stem(&self, pixels: Tensor<4>) -> (Tensor<3>, Vec<Tensor<4>>) {
        let mut map = pixels;
        let mut stages = Vec::with_capacity(self.stem_norm.len());
        for (i, conv) in self.stem.iter().enumerate() {
            map = conv.forward(map);
            if let Some(norm) = self.stem_norm.get(i) {
                map = gelu(norm.forward(map));
                stages.push(map.clone());
            }
        }
        let patches = patches_from_map(map) + self.pos.clone().unsqueeze(); // [b, n, c]
        (self.blocks.iter().fold(patches, |x, block| block.forward(x)), stages)
    }
}
