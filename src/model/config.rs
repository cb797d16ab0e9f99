//! A model's `config.json`: what it is made of. Keys that are not known are left to later versions; values are checked
//! here once, so that no other file has to.

use serde::{Deserialize, Serialize};

use crate::formats::sniff::{Wanted, refuse_another};
use crate::image::preprocess::ResizeMode;
use crate::limits::{MAX_CENTERS, MAX_NEIGHBORS, MAX_PATCHES, MAX_REFUSALS, MAX_SQUARE_SIZE, MAX_TEXT_BYTES};
use crate::model::foreign::OTHER_MODEL;
use crate::model::llm::LlamaConfig;
use crate::model::siglip_folder;
use crate::{Error, Result};

/// Everything that a bundle's `config.json` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetokimConfig {
    pub name: String,
    pub vision: VisionConfig,
    #[serde(default)]
    pub preprocess: PreprocessConfig,
    #[serde(default)]
    pub cluster: ClusterConfig,
    /// Absent in a bare vision tower.
    pub merger: Option<MergerConfig>,
    /// Absent in a model that cannot draw.
    pub detokenizer: Option<DetokenizerConfig>,
    /// Names of what the token heads tell apart, for models trained with them.
    pub labels: Option<LabelsConfig>,
    /// Absent in a tokenizer without a language model.
    #[serde(default, deserialize_with = "checked_llama")]
    pub llm: Option<LlamaConfig>,
    /// Absent in a model that cannot draw.
    pub diffusion: Option<DiffusionConfig>,
    /// Absent in a model that cannot segment.
    pub mask_head: Option<MaskHeadConfig>,
    /// Comes with `llm`.
    pub special_tokens: Option<SpecialTokens>,
    /// Logits by which `[Img]` must beat words at the beginning of an answer about a picture. Training refuses few edits,
    /// so a trained model rather draws; `training/evaluation/tune.py` finds what puts that right.
    #[serde(default)]
    pub picture_margin: f32,
    /// How a model begins that will not mark, draw or edit, in whole words, such as "there is no": all that it may say
    /// where a mask or an image is asked for. Empty: it may say anything.
    #[serde(default)]
    pub refusals: Vec<String>,
}

/// How an image becomes the encoder's square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PreprocessConfig {
    #[serde(default)]
    pub resize: ResizeMode,
}

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
}

/// Our ViT. A patch is `2^(stem convolutions)` pixels wide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VitConfig {
    pub image_size: usize,
    pub patch_size: usize,
    pub width: usize,
    pub depth: usize,
    pub heads: usize,
    pub mlp_ratio: usize,
    /// Channels between the stem's convolutions; one convolution more than entries.
    pub stem_channels: Vec<usize>,
    pub norm_eps: f64,
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

/// The keys of Hugging Face's `SiglipVisionConfig`, with its defaults (google/siglip-base-patch16-224).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SiglipConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub image_size: usize,
    pub patch_size: usize,
    pub layer_norm_eps: f64,
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

impl SiglipConfig {
    /// How many layers are computed: those up to the selected one.
    pub(crate) fn layers(&self) -> usize {
        self.num_hidden_layers + 1 - self.select_layer.unsigned_abs() as usize
    }

    /// Whether a tensor of a checkpoint is of what is computed.
    pub(crate) fn reads(&self, name: &str) -> bool {
        siglip_folder::reads(self.layers(), name)
    }
}

/// Density-peak clustering. The defaults are ours; the reference code's behaviour is `neighbors` 64, `fallback_clusters`
/// 64, `max_clusters` 1024, `pos_scale` 1 and `normalize` false.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterConfig {
    /// k: patches that a density is the mean of, the patch itself included.
    pub neighbors: usize,
    /// A centre's density x delta is above this.
    pub threshold: f32,
    /// Clusters at the most.
    pub max_clusters: usize,
    /// Clusters of an image in which no patch is above the threshold.
    pub fallback_clusters: usize,
    /// Weight of the 2-D positions added before clustering.
    pub pos_scale: f32,
    /// In these positions sine and cosine of a frequency stand side by side, as in the reference code; else each fill a
    /// quarter.
    pub pos_interleaved: bool,
    /// LayerNorm without affine first, so that distances lie in [0, 2] and a threshold means something.
    pub normalize: bool,
    pub norm_eps: f64,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            neighbors: 4,
            threshold: 0.5,
            max_clusters: 16,
            fallback_clusters: 1,
            pos_scale: 0.0,
            pos_interleaved: false,
            normalize: true,
            norm_eps: 1e-6,
        }
    }
}

/// Token merger: patches of a cluster -> one token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MergerConfig {
    pub width: usize,
    pub heads: usize,
    pub mlp_ratio: usize,
    /// Inner width of the MLPs where it is no multiple of `width`; 0 for `width * mlp_ratio`.
    #[serde(default)]
    pub mlp_hidden: usize,
    pub inner_depth: usize,
    pub inter_depth: usize,
    pub token_width: usize,
    pub norm_eps: f64,
    /// The reference code's form: attention layers under one norm, then one MLP, and no norm after the last layer.
    #[serde(default)]
    pub shared_blocks: bool,
}

/// Detokenizer: tokens -> pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DetokenizerConfig {
    pub width: usize,
    pub depth: usize,
    pub heads: usize,
    pub mlp_ratio: usize,
    /// Channels of the two convolutions over the pixels; 0 for none.
    pub refine_channels: usize,
    pub norm_eps: f64,
    /// Pixels down and across of the image that each token has of its own; 0 for none.
    #[serde(default)]
    pub layer_size: usize,
    /// Width of the layers that make it.
    #[serde(default)]
    pub layer_width: usize,
}

/// What the token heads can say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelsConfig {
    /// Names of things, then names of backgrounds.
    pub names: Vec<String>,
    /// How many of the names are things.
    pub objects: usize,
    pub colors: Vec<String>,
}

/// Diffusion head: hidden state -> semantic token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DiffusionConfig {
    pub width: usize,
    pub depth: usize,
    pub timesteps: usize,
    pub norm_eps: f64,
}

/// Mask head: hidden state and features -> mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskHeadConfig {
    pub width: usize,
}

/// Ids of the tokens that are not text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialTokens {
    pub pad: u32,
    /// First of every sequence.
    pub begin: u32,
    /// After every turn.
    pub end: u32,
    pub user: u32,
    pub assistant: u32,
    /// Before the visual tokens of an image.
    pub image_start: u32,
    /// After them.
    pub image_end: u32,
    /// The next visual token is drawn by the diffusion head.
    pub visual: u32,
    /// Asks the mask head for a mask.
    pub segment: u32,
    /// The next visual token is token 0 of the source image; those after it are the other tokens.
    pub keep_first: u32,
    pub keep_count: u32,
}

impl SetokimConfig {
    /// Reads and checks a `config.json`: ours, or a Hugging Face SigLIP folder's unchanged one (with `vision_config`
    /// inside or as the whole file).
    pub fn from_json(text: &str) -> Result<Self> {
        let invalid = |e: serde_json::Error| Error::Config(e.to_string());
        if text.len() > MAX_TEXT_BYTES {
            return Err(Error::Config(format!("it is longer than {} MiB", MAX_TEXT_BYTES >> 20)));
        }
        refuse_another(Wanted::Json, "config.json", "config-invalid", text.as_bytes())?;
        let value: serde_json::Value = serde_json::from_str(text).map_err(invalid)?;
        let config = match value.get("model_type").and_then(|kind| kind.as_str()) {
            Some(kind) if value.get("vision").is_none() => {
                Self::bare_tower(serde_json::from_value(siglip_folder::tower_settings(kind, &value)?).map_err(invalid)?)
            }
            _ => serde_json::from_value(value).map_err(invalid)?,
        };
        config.check()?;
        Ok(config)
    }

    fn bare_tower(siglip: SiglipConfig) -> Self {
        Self {
            name: "siglip".into(),
            vision: VisionConfig::Siglip(siglip),
            preprocess: PreprocessConfig::default(),
            cluster: ClusterConfig::default(),
            merger: None,
            detokenizer: None,
            labels: None,
            llm: None,
            diffusion: None,
            mask_head: None,
            special_tokens: None,
            picture_margin: 0.0,
            refusals: Vec::new(),
        }
    }

    fn check(&self) -> Result<()> {
        self.vision.check()?;
        self.cluster.check(self.vision.patches())?;
        if let Some(merger) = &self.merger {
            heads_fit("merger", merger.width, merger.heads)?;
            sizes("merger", &[merger.width, merger.token_width, merger.mlp_ratio])?;
            require(merger.width == self.vision.width(), "merger.width must equal vision.width")?;
            require(merger.width.is_multiple_of(4), "merger.width must be a multiple of 4")?;
        }
        if let Some(detokenizer) = &self.detokenizer {
            heads_fit("detokenizer", detokenizer.width, detokenizer.heads)?;
            sizes("detokenizer", &[detokenizer.width, detokenizer.mlp_ratio])?;
            require(self.merger.is_some(), "a detokenizer needs a merger")?;
            let fits = detokenizer.layer_size <= self.vision.image_size();
            require(fits, "detokenizer.layer_size must be at most vision.image_size")?;
            if detokenizer.layer_size > 0 {
                sizes("detokenizer", &[detokenizer.layer_width])?;
            }
        }
        self.check_language()
    }

    fn check_language(&self) -> Result<()> {
        if let Some(diffusion) = &self.diffusion {
            sizes("diffusion", &[diffusion.width, diffusion.depth, diffusion.timesteps])?;
        }
        if let Some(mask_head) = &self.mask_head {
            sizes("mask_head", &[mask_head.width])?;
        }
        require(self.picture_margin.is_finite(), "picture_margin must be a number")?;
        require(self.refusals.len() <= MAX_REFUSALS, &format!("refusals must be at most {MAX_REFUSALS}"))?;
        let Some(llm) = &self.llm else {
            return require(
                self.diffusion.is_none() && self.mask_head.is_none(),
                "diffusion and mask_head need an llm",
            );
        };
        let special = self.special_tokens.ok_or_else(|| Error::Config("an llm needs special_tokens".into()))?;
        require(self.merger.is_some(), "an llm needs a merger: it reads semantic tokens")?;
        let is_known = |&id: &u32| (id as usize) < llm.vocab_size;
        require(special.ids().all(|id| is_known(&id)), "special_tokens must lie below llm.vocab_size")?;
        // A visual token wears the embedding of its own pointer.
        let enough = special.keep_count as usize >= self.cluster.max_clusters;
        require(enough, "special_tokens.keep_count must be at least cluster.max_clusters")
    }
}

impl SpecialTokens {
    /// All of them.
    fn ids(&self) -> impl Iterator<Item = u32> {
        let one = [self.pad, self.begin, self.end, self.user, self.assistant, self.image_start, self.image_end];
        let last = self.keep_first.saturating_add(self.keep_count.saturating_sub(1));
        one.into_iter().chain([self.visual, self.segment, self.keep_first, last])
    }
}

/// The language model's own checks, which also fill in what Hugging Face leaves out.
fn checked_llama<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<LlamaConfig>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(deserializer)?;
    let read = |value: serde_json::Value| LlamaConfig::from_json(&value.to_string());
    value.map(read).transpose().map_err(serde::de::Error::custom)
}

impl VisionConfig {
    /// `S`: side of the square input in pixels.
    pub fn image_size(&self) -> usize {
        match self {
            Self::Vit(vit) => vit.image_size,
            Self::Siglip(siglip) => siglip.image_size,
        }
    }

    pub fn patch_size(&self) -> usize {
        match self {
            Self::Vit(vit) => vit.patch_size,
            Self::Siglip(siglip) => siglip.patch_size,
        }
    }

    /// `C`: width of a patch feature.
    pub fn width(&self) -> usize {
        match self {
            Self::Vit(vit) => vit.width,
            Self::Siglip(siglip) => siglip.hidden_size,
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
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let (heads, mlp) = match self {
            Self::Vit(vit) => (vit.heads, vit.mlp_ratio),
            Self::Siglip(siglip) => (siglip.num_attention_heads, siglip.intermediate_size),
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
            if !["gelu_pytorch_tanh", "gelu"].contains(&siglip.hidden_act.as_str()) {
                let what = format!("the activation `{}` of the vision tower (GELU is)", siglip.hidden_act);
                return Err(Error::not_supported(what, OTHER_MODEL));
            }
            sizes("vision.num_hidden_layers", &[siglip.num_hidden_layers])?;
            let back = siglip.select_layer.unsigned_abs() as usize;
            require(
                siglip.select_layer < 0 && back <= siglip.num_hidden_layers + 1,
                "vision.select_layer counts back from -1 to the embeddings",
            )?;
        }
        Ok(())
    }
}

impl ClusterConfig {
    /// Whether these settings can cluster `n` patches.
    pub fn check(&self, n: usize) -> Result<()> {
        let fail = |message: String| Err(Error::Clustering(message));
        if self.neighbors == 0 || self.neighbors > n {
            return fail(format!("neighbors (k) is {}, it must lie in 1..={n}, the number of patches", self.neighbors));
        }
        if n > MAX_PATCHES {
            return fail(format!("there are {n} patches, at most {MAX_PATCHES} can be clustered"));
        }
        if self.neighbors > MAX_NEIGHBORS {
            return fail(format!("neighbors (k) is {}, at most {MAX_NEIGHBORS} can be used", self.neighbors));
        }
        if self.max_clusters == 0 || self.max_clusters > MAX_CENTERS {
            return fail(format!("max_clusters is {}, it must lie in 1..={MAX_CENTERS}", self.max_clusters));
        }
        if self.fallback_clusters == 0 {
            return fail("fallback_clusters is 0: a picture has at least one token".into());
        }
        if !self.threshold.is_finite() || !self.pos_scale.is_finite() {
            return fail("threshold and pos_scale must be finite".into());
        }
        Ok(())
    }
}

fn require(holds: bool, message: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Config(message.into())) }
}

fn heads_fit(part: &str, width: usize, heads: usize) -> Result<()> {
    require(heads > 0 && width.is_multiple_of(heads), &format!("{part}: width must be a multiple of heads"))
}

/// Generous bounds that keep a hostile config from asking for absurd memory.
fn sizes(part: &str, values: &[usize]) -> Result<()> {
    require(values.iter().all(|v| (1..=65_536).contains(v)), &format!("{part}: sizes must lie in 1..=65536"))
}
