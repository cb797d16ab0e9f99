//! The SeTok tokenizer: patch features `[N, C]` -> semantic-equivalent tokens `[L, D]`, `L` decided by the image.

mod cluster;
mod heads;
mod merger;
mod position;

pub use cluster::{Clusters, cluster};
pub use heads::{NameHeads, TokenName, TokenNames};
pub use merger::{Merger, pool_head};
pub use position::{interleaved_positions, sine_positions};

use burn::tensor::{Device, Tensor};

use crate::Result;
use crate::model::config::{ClusterConfig, SetokimConfig, VisionConfig};
use crate::nn::norms::LayerNorm;
use crate::nn::tensor_store::TensorStore;

/// Clustering, then merging.
#[derive(Debug)]
pub struct SetokTokenizer {
    config: ClusterConfig,
    norm: LayerNorm,
    positions: Tensor<2>, // [N, C], scaled as the config says
    merger: Option<Merger>,
}

impl SetokTokenizer {
    /// Takes the tensors of its merger, if there is one.
    ///
    /// # Errors
    /// What [`TensorStore::take`] says.
    pub fn load(store: &mut TensorStore, config: &SetokimConfig) -> Result<Self> {
        let device: Device = store.device().clone();
        let (width, side) = (config.vision.width(), config.vision.grid());
        let head = match &config.vision {
            VisionConfig::EfficientNet(net) => net.head,
            VisionConfig::Vit(_) | VisionConfig::Siglip(_) => 0,
        };
        let merger = config.merger.as_ref().map(|merger| Merger::load(store, merger, side, head)).transpose()?;
        let positions = match config.cluster.pos_interleaved {
            true => interleaved_positions(side, width, &device),
            false => sine_positions(side, width, &device),
        };
        Ok(Self {
            config: config.cluster,
            norm: LayerNorm::without_affine(width, config.cluster.norm_eps, &device),
            positions: positions * config.cluster.pos_scale,
            merger,
        })
    }

    /// What the clustering sees of the encoder's features, without positions.
    ///
    /// # Shapes
    /// - `features`, output: `[N, C]`
    pub fn normalize(&self, features: Tensor<2>) -> Tensor<2> {
        if self.config.normalize { self.norm.forward(features) } else { features }
    }

    /// # Shapes
    /// - `normal`: `[N, C]` from [`SetokTokenizer::normalize`]
    pub async fn cluster(&self, normal: Tensor<2>) -> Result<Clusters> {
        let placed = if self.config.pos_scale == 0.0 { normal } else { normal + self.positions.clone() };
        cluster(placed, &self.config).await
    }

    /// The tokens, or nothing for a model without a merger.
    ///
    /// # Shapes
    /// - `normal`: `[N, C]` from [`SetokTokenizer::normalize`]
    /// - `head`: `[N / 4, head]`, where the encoder has a head map
    /// - output: `[L, D]`
    pub fn merge(&self, normal: Tensor<2>, head: Option<Tensor<2>>, clusters: &Clusters) -> Option<Tensor<2>> {
        self.merger.as_ref().map(|merger| merger.forward(normal, head, clusters))
    }
}
