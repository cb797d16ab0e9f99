//! From an EfficientNet's maps to features of patches: context at stride 32, detail from strides 16 and 8.

use burn::tensor::{DType, Int, Tensor, TensorData};

use super::efficientnet::Levels;
use crate::kernels::{Filters, Gelu};
use crate::model::config::EfficientNetConfig;
use crate::nn::block::{Block, BlockSize, Mlp};
use crate::nn::conv::{DepthwiseConv, RowsConv};
use crate::nn::norm_linear::NormLinear;
use crate::nn::norms::LayerNorm;
use crate::nn::tensor_store::TensorStore;
use crate::{Error, Result};

/// Tensors `neck.{stride32, head, positions, blocks.i, stride16, stride8, mix.i}`.
#[derive(Debug)]
pub struct Neck {
    stride32: NormLinear,
    head: NormLinear,
    positions: Tensor<2>, // [N / 4, C]
    blocks: Vec<Block>,
    /// For each patch the position at stride 32 that covers it, `[N]`.
    coarse: Tensor<1, Int>,
    stride16: NormLinear,
    stride8: (LayerNorm, RowsConv),
    mix: Vec<MixBlock>,
}

impl Neck {
    /// Takes its tensors, `neck.*`.
    ///
    /// # Errors
    /// What [`TensorStore::take`] says.
    pub fn load(store: &mut TensorStore, config: &EfficientNetConfig) -> Result<Self> {
        let neck = &config.neck;
        let (width, eps, grid) = (neck.width, neck.norm_eps, config.image_size / 16);
        let channels = |stride: usize| {
            let missing = || Error::Config(format!("vision.stages has no map at stride {stride}"));
            config.channels_at(stride).ok_or_else(missing)
        };
        let [channels8, channels16, channels32] = [channels(8)?, channels(16)?, channels(32)?];
        let size = BlockSize { width, heads: neck.heads, hidden: width * neck.context_ratio, eps };
        let blocks = (0..neck.context_depth).map(|i| Block::load(store, &format!("neck.blocks.{i}"), size));
        let blocks = blocks.collect::<Result<_>>()?;
        let halve = Filters { kernel: 3, stride: 2, padding: [1, 1], is_relu6: false };
        let stride8 = (
            LayerNorm::load(store, "neck.stride8.norm", channels8, eps)?,
            RowsConv::load(store, "neck.stride8.conv", [channels8, width], 2 * grid, halve)?,
        );
        let coarse: Vec<i32> = coarse_positions(grid).into_iter().map(|position| position as i32).collect();
        Ok(Self {
            stride32: NormLinear::load(store, "neck.stride32", channels32, width, eps)?,
            head: NormLinear::load(store, "neck.head", config.head, width, eps)?,
            positions: store.take("neck.positions", [(grid / 2).pow(2), width])?,
            blocks,
            coarse: Tensor::from_data(TensorData::from(coarse.as_slice()), (store.device(), DType::I32)),
            stride16: NormLinear::load(store, "neck.stride16", channels16, width, eps)?,
            stride8,
            mix: (0..neck.mix_depth).map(|i| MixBlock::load(store, i, config, grid)).collect::<Result<_>>()?,
        })
    }

    /// # Shapes
    /// - output: `[N, C]`, patches row by row
    pub fn forward(&self, levels: &Levels) -> Tensor<2> {
        let x = self.stride32.forward_onto(self.positions.clone(), levels.stride32.clone());
        let x = self.head.forward_onto(x, levels.head.clone()).unsqueeze(); // [1, n / 4, c]
        let x: Tensor<3> = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let x = x.squeeze_dim::<2>(0).select(0, self.coarse.clone()); // each position becomes 2 x 2 patches
        let x = self.stride16.forward_onto(x, levels.stride16.clone());
        let (norm, conv) = &self.stride8;
        let x = conv.forward(norm.forward(levels.stride8.clone()), Some(x));
        self.mix.iter().fold(x, |x, block| block.forward(x))
    }
}

/// For each patch of a grid, row by row, the position of the grid of half the side that covers it.
pub fn coarse_positions(grid: usize) -> Vec<usize> {
    (0..grid * grid).map(|patch| patch / grid / 2 * (grid / 2) + patch % grid / 2).collect()
}

/// Depthwise convolution, LayerNorm, two linear layers with GELU between; added to what came in.
#[derive(Debug)]
struct MixBlock {
    depthwise: DepthwiseConv,
    norm: LayerNorm,
    mlp: Mlp,
    grid: usize,
}

impl MixBlock {
    fn load(store: &mut TensorStore, i: usize, config: &EfficientNetConfig, grid: usize) -> Result<Self> {
        let (name, neck) = (format!("neck.mix.{i}"), &config.neck);
        let (width, kernel) = (neck.width, neck.mix_kernel);
        let filters = Filters::same(grid, kernel, 1);
        Ok(Self {
            depthwise: DepthwiseConv::load(store, &format!("{name}.depthwise"), width, filters)?,
            norm: LayerNorm::load(store, &format!("{name}.norm"), width, neck.norm_eps)?,
            mlp: Mlp::load(store, &name, width, width * neck.mix_ratio, Gelu::Exact)?,
            grid,
        })
    }

    /// # Shapes
    /// - `x`, output: `[N, C]`
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let [_, width] = x.dims();
        let map = self.depthwise.forward(x.clone().reshape([self.grid, self.grid, width]));
        let normal = self.norm.forward(map.reshape([1, self.grid * self.grid, width]));
        self.mlp.forward(x.unsqueeze(), normal).squeeze_dim(0)
    }
}
