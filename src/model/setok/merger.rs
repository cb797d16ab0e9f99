//! Token merger: the patches of each cluster become one token (paper section 3.1; reference code
//! `tokenizer.py::group_encoding`, `module.py::Block`).

use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::cluster::Clusters;
use super::position::sine_positions;
use crate::Result;
use crate::kernels::ClusterOps;
use crate::kernels::dense::matmul;
use crate::model::config::MergerConfig;
use crate::model::vision::coarse_positions;
use crate::nn::block::{Block, BlockSize};
use crate::nn::linear::Linear;
use crate::nn::norm_linear::NormLinear;
use crate::nn::norms::LayerNorm;
use crate::nn::tensor_store::TensorStore;

/// Blocks inside the clusters, mean over each cluster, blocks between the clusters; tensors `setok.merger.*`.
#[derive(Debug)]
pub struct Merger {
    /// Of each patch, projected. `[N, C]`
    positions: Tensor<2>,
    inner: Vec<Block>,
    inter: Vec<Block>,
    out: Linear,
    /// Of the encoder's head map, pooled over a cluster; none for a merger that does not see it.
    pooled: Option<NormLinear>,
    /// None in the reference code's form.
    out_norm: Option<LayerNorm>,
}

impl Merger {
    /// Takes its tensors, `setok.*`, for a grid of `side` x `side` patches and a head map of `head` channels.
    ///
    /// # Errors
    /// What [`TensorStore::take`] says.
    pub fn load(store: &mut TensorStore, config: &MergerConfig, side: usize, head: usize) -> Result<Self> {
        let (width, eps) = (config.width, config.norm_eps);
        let out_norm = match config.shared_blocks {
            true => None,
            false => Some(LayerNorm::load(store, "setok.merger.out_norm", config.token_width, eps)?),
        };
        let pooled = match config.pooled_head {
            true => Some(NormLinear::load(store, "setok.merger.pooled", head, config.token_width, eps)?),
            false => None,
        };
        let pos_proj = Linear::load(store, "setok.merger.pos_proj", width, width)?;
        Ok(Self {
            positions: pos_proj.forward(sine_positions(side, width, store.device())),
            inner: load_blocks(store, "setok.merger.inner", config, config.inner_depth)?,
            inter: load_blocks(store, "setok.merger.inter", config, config.inter_depth)?,
            out: Linear::load(store, "setok.merger.out", width, config.token_width)?,
            pooled,
            out_norm,
        })
    }

    /// # Shapes
    /// - `features`: `[N, C]`, as they were clustered but without positions
    /// - `head`: `[N / 4, head]`, which a merger that does not see it leaves alone
    /// - output: `[L, D]`, in the order of the centres
    pub fn forward(&self, features: Tensor<2>, head: Option<Tensor<2>>, clusters: &Clusters) -> Tensor<2> {
        let device = features.device();
        let x = features + self.positions.clone();
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
        let mut tokens = self.out.forward(tokens).squeeze_dim(0);
        if let (Some(pooled), Some(head)) = (&self.pooled, head) {
            tokens = pooled.forward_onto(tokens, pool_head(head, clusters));
        }
        match &self.out_norm {
            Some(norm) => norm.forward(tokens),
            None => tokens,
        }
    }
}

/// Means of the head map over each cluster, where each position of it stands for 2 x 2 patches.
///
/// # Shapes
/// - `head`: `[N / 4, head]`, output: `[L, head]`
pub fn pool_head(head: Tensor<2>, clusters: &Clusters) -> Tensor<2> {
    let ([positions, _], sizes) = (head.dims(), clusters.sizes());
    let mut shares = vec![0.0; sizes.len() * positions];
    let coarse = coarse_positions(clusters.labels.len().isqrt());
    for (&cluster, position) in clusters.labels.iter().zip(coarse) {
        shares[cluster * positions + position] += 1.0 / sizes[cluster] as f32;
    }
    let shares = TensorData::new(shares, [sizes.len(), positions]);
    matmul(Tensor::from_data(shares, (&head.device(), DType::F32)), head)
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
    Tensor::from_data(TensorData::new(values, [length]), (device, DType::I32))
}
