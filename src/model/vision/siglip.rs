//! SigLIP vision tower with Hugging Face's tensor names (`transformers` `modeling_siglip.py`).

use burn::tensor::Tensor;

use super::patches_from_map;
use crate::kernels::Gelu;
use crate::model::config::SiglipConfig;
use crate::nn::block::{Block, BlockSize};
use crate::nn::conv::Conv2d;
use crate::nn::tensor_store::TensorStore;
use crate::{Error, Result};

/// Patch features of a SigLIP tower at `select_layer`. Layers after that one are not loaded.
#[derive(Debug)]
pub struct Siglip {
    patch_embedding: Conv2d,
    position_embedding: Tensor<2>, // [N, C]
    layers: Vec<Block>,
}

impl Siglip {
    /// Takes the tower's tensors, with the prefix `vision_model.` or without any.
    pub fn load(store: &mut TensorStore, config: &SiglipConfig) -> Result<Self> {
        let prefix = ["vision_model.", "vision.vision_model.", ""]
            .into_iter()
            .find(|prefix| store.contains(&format!("{prefix}embeddings.patch_embedding.weight")))
            .ok_or_else(|| Error::TensorMissing("vision_model.embeddings.patch_embedding.weight".into()))?;
        let name = |part: &str| format!("{prefix}{part}");
        let (width, patch) = (config.hidden_size, config.patch_size);
        let side = config.image_size / patch;
        let patch_embedding = Conv2d::load(store, &name("embeddings.patch_embedding"), [3, width], patch, patch)?;
        let position_embedding = store.take(&name("embeddings.position_embedding.weight"), [side * side, width])?;
        let size = BlockSize {
            width,
            heads: config.num_attention_heads,
            hidden: config.intermediate_size,
            eps: config.layer_norm_eps,
        };
        let gelu = if config.hidden_act == "gelu" { Gelu::Exact } else { Gelu::Tanh };
        let layer = |i| Block::load_siglip(store, &name(&format!("encoder.layers.{i}")), size, gelu);
        let layers = (0..config.layers()).map(layer).collect::<Result<_>>()?;
        Ok(Self { patch_embedding, position_embedding, layers })
    }

    /// # Shapes
    /// - `pixels`: `[B, 3, S, S]`
    /// - output: `[B, N, C]`
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<3> {
        let patches = patches_from_map(self.patch_embedding.forward(pixels));
        let patches = patches + self.position_embedding.clone().unsqueeze();
        self.layers.iter().fold(patches, |x, layer| layer.forward(x))
    }
}
