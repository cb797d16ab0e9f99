//! Token merger: the patches of each cluster become one token (paper section 3.1; reference code
//! `tokenizer.py::group_encoding`, `module.py::Block`).

use burn::backend::Dispatch;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::cluster::Clusters;
use super::position::sine_positions;
use crate::Result;
use crate::kernels::ClusterOps;
use crate::model::config::MergerConfig;
use crate::nn::block::{Block, BlockSize};
use crate::nn::linear::Linear;
use crate::nn::norms::LayerNorm;
use crate::nn::tensor_store::TensorStore;

/// Blocks inside the clusters, mean over each cluster, blocks between the clusters; tensors `setok.merger.*`.
#[derive(Debug)]
pub struct Merger {
    positions: Tensor<2>, // [N, C]
    pos_proj: Linear,
    inner: Vec<Block>,
    inter: Vec<Block>,
    out: Linear,
    /// None in the reference code's form.
    out_norm: Option<LayerNorm>,
}

impl Merger {
    /// Takes its tensors, `setok.*`, for a grid of `side` x `side` patches.
    ///
    /// # Errors
    /// What [`TensorStore::take`] says.
    pub fn load(store: &mut TensorStore, config: &MergerConfig, side: usize) -> Result<Self> {
        let width = config.width;
        let out_norm = match config.shared_blocks {
            true => None,
            false => Some(LayerNorm::load(store, "setok.merger.out_norm", config.token_width, config.norm_eps)?),
        };
        Ok(Self {
            positions: sine_positions(side, width, store.device()),
            pos_proj: Linear::load(store, "setok.merger.pos_proj", width, width)?,
            inner: load_blocks(store, "setok.merger.inner", config, config.inner_depth)?,
            inter: load_blocks(store, "setok.merger.inter", config, config.inter_depth)?,
            out: Linear::load(store, "setok.merger.out", width, config.token_width)?,
            out_norm,
        })
    }

    /// # Shapes
    /// - `features`: `[N, C]`, as they were clustered but without positions
    /// - output: `[L, D]`, in the order of the centres
    pub fn forward(&self, features: Tensor<2>, clusters: &Clusters) -> Tensor<2> {
        let device = features.device();
        let x = features + self.pos_proj.forward(self.positions.clone());
        // Patches sorted by cluster, so that attention inside a cluster is attention inside a segment.
        let mut order: Vec<usize> = (0..clusters.labels.len()).collect();
        order.sort_by_key(|&patch| clusters.labels[patch]);
        let sorted_labels: Vec<usize> = order.iter().map(|&patch| clusters.labels[patch]).collect();
        let sizes = clusters.sizes();
        let x = x.select(0, indices(&order, &device)).unsqueeze(); // [1, n, c]
        let x = self.inner.iter().fold(x, |x, block| block.forward_segments(x, &sizes));
        let means = Dispatch::cluster_mean(
            x.squeeze_dim::<2>(0).into_dispatch(),
            indices(&sorted_labels, &device).into_dispatch(),
            sizes.len(),
        );
        let tokens = Tensor::<2>::from_dispatch(means).unsqueeze(); // [1, l, c]
        let tokens = self.inter.iter().fold(tokens, |x, block| block.forward(x));
        let tokens = self.out.forward(tokens).squeeze_dim(0);
        match &self.out_norm {
            Some(norm) => norm.forward(tokens),
            None => tokens,
        }
    }
}

fn load_blocks(store: &mut TensorStore, name: &str, config: &MergerConfig, depth: usize) -> Result<Vec<Block>> {
    let size = BlockSize {
        width: config.width,
        heads: config.heads,
        hidden: if config.mlp_hidden > 0 { config.mlp_hidden } else { config.width * config.mlp_ratio },
        eps: config.norm_eps,
    };
    match (config.shared_blocks, depth) {
        (_, 0) => Ok(Vec::new()),
        (true, _) => Block::load_shared(store, name, depth, size),
        (false, _) => (0..depth).map(|i| Block::load(store, &format!("{name}.{i}"), size)).collect(),
    }
}

fn indices(values: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.iter().map(|&value| value as i32).collect();
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), (device, burn::tensor::DType::I32))
}
