//! Detokenizer: semantic tokens `[L, D]` -> pixels `[3, S, S]` (paper section 3.1: learned queries look at the tokens;
//! the reference code's `detokenizer.py` ends before the pixels).

use burn::tensor::Tensor;

use crate::Result;
use crate::config::{DetokenizerConfig, VisionConfig};
use crate::kernels::Gelu;
use crate::kernels::dense::gelu;
use crate::kernels::in_pool;
use crate::layers::{Attention, Conv2d, LayerNorm, Linear, Mlp};
use crate::weights::TensorStore;

/// Cross-attention to the tokens, feed-forward, self-attention, feed-forward; tensors `detok.blocks.i.*`.
#[derive(Debug)]
struct DetokBlock {
    norm_cross: LayerNorm,
    cross_attn: Attention,
    norm_cross_mlp: LayerNorm,
    cross_mlp: Mlp,
    norm_self: LayerNorm,
    self_attn: Attention,
    norm_self_mlp: LayerNorm,
    self_mlp: Mlp,
}

impl DetokBlock {
    fn load(store: &mut TensorStore, name: &str, config: &DetokenizerConfig) -> Result<Self> {
        let (width, hidden) = (config.width, config.width * config.mlp_ratio);
        let names = ["q", "k", "v", "out"];
        let part = |part: &str| format!("{name}.{part}");
        let norm = |store: &mut TensorStore, name: &str| LayerNorm::load(store, &part(name), width, config.norm_eps);
        Ok(Self {
            norm_cross: norm(store, "norm_cross")?,
            cross_attn: Attention::load(store, &part("cross_attn"), names, width, config.heads)?,
            norm_cross_mlp: norm(store, "norm_cross_mlp")?,
            cross_mlp: Mlp::load(store, &part("cross_mlp"), width, hidden, Gelu::Exact)?,
            norm_self: norm(store, "norm_self")?,
            self_attn: Attention::load(store, &part("self_attn"), names, width, config.heads)?,
            norm_self_mlp: norm(store, "norm_self_mlp")?,
            self_mlp: Mlp::load(store, &part("self_mlp"), width, hidden, Gelu::Exact)?,
        })
    }

    /// # Shapes
    /// - `x`, output: `[1, N, width]`
    /// - `tokens`: `[1, L, width]`
    fn forward(&self, x: Tensor<3>, tokens: Tensor<3>) -> Tensor<3> {
        let normal = self.norm_cross.forward(x.clone());
        let x = self.cross_attn.forward(x, normal, tokens);
        let normal = self.norm_cross_mlp.forward(x.clone());
        let x = self.cross_mlp.forward(x, normal);
        let normal = self.norm_self.forward(x.clone());
        let x = self.self_attn.forward(x, normal.clone(), normal);
        let normal = self.norm_self_mlp.forward(x.clone());
        self.self_mlp.forward(x, normal)
    }
}

/// A grid of learned queries that reads the tokens and paints a patch each; tensors `detok.*`.
#[derive(Debug)]
pub struct Detokenizer {
    token_in: Linear,
    queries: Tensor<2>, // [N, width], positions included
    blocks: Vec<DetokBlock>,
    norm: LayerNorm,
    pixels: Linear,
    refine: Option<[Conv2d; 2]>,
    side: usize,
    patch: usize,
}

impl Detokenizer {
    pub fn load(
        store: &mut TensorStore,
        config: &DetokenizerConfig,
        vision: &VisionConfig,
        token_width: usize,
    ) -> Result<Self> {
        let (side, patch, width) = (vision.grid(), vision.patch_size(), config.width);
        let block = |i| DetokBlock::load(store, &format!("detok.blocks.{i}"), config);
        let blocks = (0..config.depth).map(block).collect::<Result<_>>()?;
        let refine = match config.refine_channels {
            0 => None,
            channels => Some([
                Conv2d::load(store, "detok.refine.0", [3, channels], 3, 1)?,
                Conv2d::load(store, "detok.refine.1", [channels, 3], 3, 1)?,
            ]),
        };
        Ok(Self {
            token_in: Linear::load(store, "detok.token_in", token_width, width)?,
            queries: store.take("detok.queries", [side * side, width])?,
            blocks,
            norm: LayerNorm::load(store, "detok.norm", width, config.norm_eps)?,
            pixels: Linear::load(store, "detok.pixels", width, patch * patch * 3)?,
            refine,
            side,
            patch,
        })
    }

    /// # Shapes
    /// - `tokens`: `[L, D]`
    /// - output: `[3, S, S]`, normalised like the encoder's input and not clamped
    pub fn forward(&self, tokens: Tensor<2>) -> Tensor<3> {
        in_pool(&tokens.device(), || self.image(tokens))
    }

    fn image(&self, tokens: Tensor<2>) -> Tensor<3> {
        let tokens = self.token_in.forward(tokens).unsqueeze();
        let queries = self.queries.clone().unsqueeze();
        let x = self.blocks.iter().fold(queries, |x, block| block.forward(x, tokens.clone()));
        let image = self.image_from_patches(self.pixels.forward(self.norm.forward(x)));
        let image = match &self.refine {
            Some([first, second]) => image.clone() + second.forward(gelu(first.forward(image))),
            None => image,
        };
        image.squeeze_dim(0)
    }

    /// Where the painter believes each token lies: its first look from every patch to the tokens.
    ///
    /// # Shapes
    /// - `tokens`: `[L, D]`
    /// - output: `[N, L]`, each row adds up to 1
    pub fn layout(&self, tokens: Tensor<2>) -> Option<Tensor<2>> {
        let block = self.blocks.first()?;
        let queries = block.norm_cross.forward(self.queries.clone().unsqueeze());
        Some(block.cross_attn.weights(queries, self.token_in.forward(tokens).unsqueeze()).squeeze_dim(0))
    }

    /// `[1, N, P * P * 3]` -> `[1, 3, S, S]`.
    fn image_from_patches(&self, patches: Tensor<3>) -> Tensor<4> {
        let (side, patch) = (self.side, self.patch);
        patches
            .reshape([side, side, patch, patch, 3]) // row, column, y, x, channel
            .permute([4, 0, 2, 1, 3])
            .reshape([1, 3, side * patch, side * patch])
    }
}
