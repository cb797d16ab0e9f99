//! A model's `config.json`: what it is made of. Keys that are not known are left to later versions; values are checked
//! here once, so that no other file has to.

mod vision;

pub use vision::{EfficientNetConfig, NeckConfig, SiglipConfig, Stage, VisionConfig, VitConfig};

use serde::{Deserialize, Serialize};

use crate::image::preprocess::{ResizeFilter, ResizeMode};
use crate::limits::{MAX_CENTERS, MAX_NEIGHBORS, MAX_REFUSALS, MAX_TEXT_BYTES};
use crate::model::llm::LlamaConfig;
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
    /// Absent in a model that cannot compare phrases with tokens.
    pub phrase: Option<PhraseConfig>,
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
    #[serde(default)]
    pub filter: ResizeFilter,
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
    /// The encoder's head map joins each token, as its mean over the cluster.
    #[serde(default)]
    pub pooled_head: bool,
}

/// Phrase encoder: the mean of a phrase's word embeddings -> a direction that tokens and patches have too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhraseConfig {
    /// Width of a word embedding.
    pub input: usize,
    pub hidden: usize,
    pub width: usize,
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
        let value: serde_json::Value = serde_json::from_str(text).map_err(invalid)?;
        let config = match value.get("model_type").and_then(|kind| kind.as_str()) {
            Some("siglip" | "siglip_vision_model") => {
                let tower = value.get("vision_config").unwrap_or(&value).clone();
                Self::bare_tower(serde_json::from_value(tower).map_err(invalid)?)
            }
            Some(other) if value.get("vision").is_none() => {
                return Err(Error::Config(format!("model type `{other}` is not a vision tower that can be read")));
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
            phrase: None,
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
            let has_head = matches!(self.vision, VisionConfig::EfficientNet(_));
            require(has_head || !merger.pooled_head, "merger.pooled_head needs an efficientnet-lite")?;
        }
        if let Some(phrase) = &self.phrase {
            sizes("phrase", &[phrase.input, phrase.hidden, phrase.width])?;
            require(self.merger.is_some(), "phrase needs a merger: it is compared with tokens")?;
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

impl ClusterConfig {
    /// Whether these settings can cluster `n` patches.
    pub fn check(&self, n: usize) -> Result<()> {
        let fail = |message: String| Err(Error::Clustering(message));
        if self.neighbors == 0 || self.neighbors > n {
            return fail(format!("neighbors (k) is {}, it must lie in 1..={n}, the number of patches", self.neighbors));
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
