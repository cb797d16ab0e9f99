//! Detokenizer: semantic tokens `[L, D]` -> pixels `[3, S, S]` (paper section 3.1: learned queries look at the tokens;
//! the reference code's `detokenizer.py` ends before the pixels).

use burn::tensor::Tensor;

use crate::Result;
use crate::kernels::Gelu;
use crate::kernels::composite_layers::composite_layers;
use crate::kernels::dense::gelu;
use crate::kernels::in_pool;
use crate::model::config::{DetokenizerConfig, VisionConfig};
use crate::nn::attention::Attention;
use crate::nn::block::Mlp;
use crate::nn::conv::Conv2d;
use crate::nn::linear::Linear;
use crate::nn::norms::LayerNorm;
use crate::nn::tensor_store::TensorStore;

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

/// An image of its own for each token, and where it lies; tensors `detok.layers.*`.
///
/// A decoder that has a cell for every patch must learn each thing anew at every place, and blurs what it has not seen there;
/// a layer has no place (compare AIR, <https://arxiv.org/abs/1603.08575>, and MarioNette,
/// <https://arxiv.org/abs/2104.14553>).
#[derive(Debug)]
struct TokenLayers {
    hidden: [Linear; 2],
    image: Linear,
    bounds: Linear,
}

impl TokenLayers {
    fn load(store: &mut TensorStore, config: &DetokenizerConfig, token_width: usize) -> Result<Self> {
        let (size, width) = (config.layer_size, config.layer_width);
        Ok(Self {
            hidden: [
                Linear::load(store, "detok.layers.hidden.0", token_width, width)?,
                Linear::load(store, "detok.layers.hidden.1", width, width)?,
            ],
            image: Linear::load(store, "detok.layers.picture", width, 4 * size * size)?,
            bounds: Linear::load(store, "detok.layers.box", width, 3)?,
        })
    }

    /// # Shapes
    /// - `image`, output: `[3, S, S]`
    /// - `tokens`: `[L, D]`
    fn forward(&self, image: Tensor<3>, tokens: Tensor<2>) -> Tensor<3> {
        let x = self.hidden.iter().fold(tokens, |x, layer| layer.forward_gelu(x, Gelu::Exact));
        composite_layers(image, self.image.forward(x.clone()), self.bounds.forward(x))
    }
}

/// A grid of learned queries that reads the tokens and paints a patch each, and the tokens' own layers on top; tensors
/// `detok.*`.
#[derive(Debug)]
pub struct Detokenizer {
    token_in: Linear,
    queries: Tensor<2>, // [N, width], positions included
    blocks: Vec<DetokBlock>,
    norm: LayerNorm,
    pixels: Linear,
    refine: Option<[Conv2d; 2]>,
    layers: Option<TokenLayers>,
    side: usize,
    patch: usize,
}

impl Detokenizer {
    /// Takes its tensors, `detok.*`.
    ///
    /// # Errors
    /// What [`TensorStore::take`] says.
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
        let has_layers = config.layer_size > 0;
        let layers = has_layers.then(|| TokenLayers::load(store, config, token_width)).transpose()?;
        Ok(Self {
            token_in: Linear::load(store, "detok.token_in", token_width, width)?,
            queries: store.take("detok.queries", [side * side, width])?,
            blocks,
            norm: LayerNorm::load(store, "detok.norm", width, config.norm_eps)?,
            pixels: Linear::load(store, "detok.pixels", width, patch * patch * 3)?,
            refine,
            layers,
            side,
            patch,
        })
    }

    /// # Shapes
    /// - `tokens`: `[L, D]`
    /// - output: `[3, S, S]`, normalised like the encoder's input and not clamped
    pub fn forward(&self, tokens: Tensor<2>) -> Tensor<3> {
        in_pool(&tokens.device(), || {
            let image = self.paint(tokens.clone());
            match &self.layers {
                Some(layers) => layers.forward(image, tokens),
                None => image,
            }
        })
    }

    /// What lies below the layers.
    fn paint(&self, tokens: Tensor<2>) -> Tensor<3> {
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
