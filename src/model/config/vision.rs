//! What a `config.json` says of the vision encoder.

use serde::{Deserialize, Serialize};

use super::check::{heads_fit, require, sizes};
use crate::Result;
use crate::kernels::CHANNEL_GROUP;
use crate::limits::{MAX_PATCHES, MAX_SQUARE_SIZE};

/// The vision encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum VisionConfig {
    /// Our ViT with a convolutional stem.
    #[serde(rename = "setokim-vit")]
    Vit(VitConfig),
    /// A SigLIP vision tower (`google/siglip-*`).
    #[serde(rename = "siglip")]
    Siglip(SiglipConfig),
    /// EfficientNet-Lite and a neck, for photographs.
    #[serde(rename = "efficientnet-lite")]
    EfficientNet(EfficientNetConfig),
}

/// Our ViT. A patch is `2^(stem convolutions)` pixels wide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VitConfig {
    /// `S`: side of the square input in pixels.
    pub image_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// `C`: width of a patch feature.
    pub width: usize,
    /// Transformer blocks.
    pub depth: usize,
    /// Attention heads of a block.
    pub heads: usize,
    /// Inner width of the MLPs as a multiple of `width`.
    pub mlp_ratio: usize,
    /// Channels between the stem's convolutions; one convolution more than entries.
    pub stem_channels: Vec<usize>,
    /// Epsilon of the norms.
    pub norm_eps: f64,
    /// Per-channel mean of pixels in [0, 1].
    pub mean: [f32; 3],
    /// Per-channel standard deviation of pixels in [0, 1].
    pub std: [f32; 3],
}

/// The keys of Hugging Face's `SiglipVisionConfig`, with its defaults (google/siglip-base-patch16-224).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SiglipConfig {
    /// `C`: width of a patch feature.
    pub hidden_size: usize,
    /// Inner width of the MLPs.
    pub intermediate_size: usize,
    /// Transformer blocks.
    pub num_hidden_layers: usize,
    /// Attention heads of a block.
    pub num_attention_heads: usize,
    /// `S`: side of the square input in pixels.
    pub image_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Epsilon of the norms.
    pub layer_norm_eps: f64,
    /// `gelu_pytorch_tanh` or `gelu`.
    pub hidden_act: String,
    /// Which hidden state is the feature: -1 the last layer's, -2 the one before (as in the reference code).
    pub select_layer: i32,
}

impl Default for SiglipConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 16,
            layer_norm_eps: 1e-6,
            hidden_act: "gelu_pytorch_tanh".into(),
            select_layer: -2,
        }
    }
}

/// EfficientNet-Lite: MBConv blocks without squeeze-and-excitation, ReLU6 (Tan and Le 2019; Liu 2020). A patch is 16 pixels
/// wide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EfficientNetConfig {
    /// `S`: side of the square input in pixels.
    pub image_size: usize,
    /// Per-channel mean of pixels in [0, 1].
    pub mean: [f32; 3],
    /// Per-channel standard deviation of pixels in [0, 1].
    pub std: [f32; 3],
    /// Channels after the first convolution, which halves the side.
    pub stem: usize,
    /// The blocks, as the data passes them.
    pub stages: Vec<Stage>,
    /// Channels of the last 1 x 1 convolution.
    pub head: usize,
    /// What the classifier tells apart.
    pub classes: usize,
    /// What makes features of the maps.
    pub neck: NeckConfig,
}

/// MBConv blocks of one size; only the first has the stride.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Blocks.
    pub repeats: usize,
    /// Side of the depthwise filter in pixels.
    pub kernel: usize,
    /// Of the first block, 1 or 2.
    pub stride: usize,
    /// Times as many channels inside of a block as come in.
    pub expansion: usize,
    /// Channels that come out.
    pub channels: usize,
}

/// From maps at strides 8, 16 and 32 to features of patches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NeckConfig {
    /// `C`: width of a patch feature.
    pub width: usize,
    /// Attention heads of a transformer block.
    pub heads: usize,
    /// Transformer blocks at stride 32.
    pub context_depth: usize,
    /// Inner width of their MLPs as a multiple of `width`.
    pub context_ratio: usize,
    /// Depthwise blocks at stride 16.
    pub mix_depth: usize,
    /// Side of the depthwise filter in patches.
    pub mix_kernel: usize,
    /// Inner width of the depthwise blocks as a multiple of `width`.
    pub mix_ratio: usize,
    /// Epsilon of the norms.
    pub norm_eps: f64,
}

impl EfficientNetConfig {
    /// Pixels along the side of a patch.
    pub const PATCH_SIZE: usize = 16;

    /// Channels of the last block at a stride; none where no block has it.
    pub fn channels_at(&self, stride: usize) -> Option<usize> {
        let mut at = 2usize; // after the stem
        let mut channels = None;
        for stage in &self.stages {
            at = at.saturating_mul(stage.stride);
            if at == stride {
                channels = Some(stage.channels);
            }
        }
        channels
    }

    fn check(&self) -> Result<()> {
        let stage_sizes = |stage: &Stage| {
            sizes("vision.stages", &[stage.repeats, stage.kernel, stage.stride, stage.expansion, stage.channels])?;
            require(stage.repeats <= MAX_REPEATS, &format!("vision.stages: at most {MAX_REPEATS} repeats"))?;
            require([1, 2].contains(&stage.stride), "vision.stages: a stride is 1 or 2")?;
            require(stage.kernel % 2 == 1 && stage.kernel <= 7, "vision.stages: a kernel is 1, 3, 5 or 7")?;
            require(stage.expansion <= 16, "vision.stages: an expansion is at most 16")?;
            require(stage.channels.is_multiple_of(CHANNEL_GROUP), "vision.stages: channels must be multiples of 4")
        };
        require(self.stages.len() <= MAX_REPEATS, &format!("vision.stages must be at most {MAX_REPEATS}"))?;
        self.stages.iter().try_for_each(stage_sizes)?;
        sizes("vision", &[self.stem, self.head, self.classes])?;
        require(self.stem.is_multiple_of(CHANNEL_GROUP), "vision.stem must be a multiple of 4")?;
        let strides = self.stages.iter().map(|stage| stage.stride).product::<usize>();
        require(strides == 16, "vision.stages must end at stride 32")?;
        let has_levels = [8, 16, 32].into_iter().all(|stride| self.channels_at(stride).is_some());
        require(has_levels, "vision.stages must have strides 8, 16 and 32")?;
        require(self.image_size.is_multiple_of(32), "vision.image_size must be a multiple of 32")?;
        let neck = &self.neck;
        sizes("vision.neck", &[neck.width, neck.heads, neck.context_ratio, neck.mix_ratio])?;
        require(neck.width.is_multiple_of(CHANNEL_GROUP), "vision.neck.width must be a multiple of 4")?;
        require(neck.context_depth <= MAX_REPEATS && neck.mix_depth <= MAX_REPEATS, "vision.neck is too deep")?;
        require(neck.mix_kernel % 2 == 1 && neck.mix_kernel <= 7, "vision.neck.mix_kernel is 1, 3, 5 or 7")
    }
}

/// Most blocks of one kind.
const MAX_REPEATS: usize = 64;

impl VisionConfig {
    /// `S`: side of the square input in pixels.
    pub fn image_size(&self) -> usize {
        match self {
            Self::Vit(vit) => vit.image_size,
            Self::Siglip(siglip) => siglip.image_size,
            Self::EfficientNet(net) => net.image_size,
        }
    }

    /// Side of a patch in pixels.
    pub fn patch_size(&self) -> usize {
        match self {
            Self::Vit(vit) => vit.patch_size,
            Self::Siglip(siglip) => siglip.patch_size,
            Self::EfficientNet(_) => EfficientNetConfig::PATCH_SIZE,
        }
    }

    /// `C`: width of a patch feature.
    pub fn width(&self) -> usize {
        match self {
            Self::Vit(vit) => vit.width,
            Self::Siglip(siglip) => siglip.hidden_size,
            Self::EfficientNet(net) => net.neck.width,
        }
    }

    /// Patches along one side.
    pub fn grid(&self) -> usize {
        self.image_size() / self.patch_size()
    }

    /// `N`: patches of an image.
    pub fn patches(&self) -> usize {
        self.grid() * self.grid()
    }

    /// Per-channel mean and standard deviation of pixels in [0, 1].
    pub fn normalization(&self) -> ([f32; 3], [f32; 3]) {
        match self {
            Self::Vit(vit) => (vit.mean, vit.std),
            Self::Siglip(_) => ([0.5; 3], [0.5; 3]),
            Self::EfficientNet(net) => (net.mean, net.std),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let (heads, mlp) = match self {
            Self::Vit(vit) => (vit.heads, vit.mlp_ratio),
            Self::Siglip(siglip) => (siglip.num_attention_heads, siglip.intermediate_size),
            Self::EfficientNet(net) => (net.neck.heads, net.neck.context_ratio),
        };
        sizes("vision", &[self.image_size(), self.patch_size(), self.width(), mlp])?;
        heads_fit("vision", self.width(), heads)?;
        require(self.image_size() >= self.patch_size(), "vision.image_size must be at least one patch")?;
        require(self.image_size() <= MAX_SQUARE_SIZE, &format!("vision.image_size must be at most {MAX_SQUARE_SIZE}"))?;
        // Clustering compares each patch with each.
        require(self.patches() <= MAX_PATCHES, &format!("a picture must have at most {MAX_PATCHES} patches"))?;
        let (_, std) = self.normalization();
        require(std.iter().all(|s| *s > 0.0), "vision.std must be positive")?;
        if let Self::Vit(vit) = self {
            let patch = 1usize.checked_shl(vit.stem_channels.len() as u32 + 1);
            require(patch == Some(vit.patch_size), "vision.patch_size must be 2^(stem_channels + 1)")?;
            require(vit.image_size.is_multiple_of(vit.patch_size), "vision.image_size must be whole patches")?;
            require(vit.width.is_multiple_of(4), "vision.width must be a multiple of 4")?;
            sizes("vision.stem_channels", &vit.stem_channels)?;
        }
        if let Self::Siglip(siglip) = self {
            let known = ["gelu_pytorch_tanh", "gelu"].contains(&siglip.hidden_act.as_str());
            require(known, "vision.hidden_act must be gelu_pytorch_tanh or gelu")?;
            sizes("vision.num_hidden_layers", &[siglip.num_hidden_layers])?;
            let back = siglip.select_layer.unsigned_abs() as usize;
            require(
                siglip.select_layer < 0 && back <= siglip.num_hidden_layers + 1,
                "vision.select_layer counts back from -1 to the embeddings",
            )?;
        }
        if let Self::EfficientNet(net) = self {
            net.check()?;
        }
        Ok(())
    }
}
