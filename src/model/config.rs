//! A model's `config.json`: what it is made of. Keys that are not known are left to later versions; values are checked
//! once (`config/check.rs`), so that no other file has to.

mod check;
mod vision;

pub use vision::{EfficientNetConfig, NeckConfig, SiglipConfig, Stage, VisionConfig, VitConfig};

use serde::{Deserialize, Serialize};

use crate::formats::sniff::{Wanted, refuse_another};
use crate::image::preprocess::{ResizeFilter, ResizeMode};
use crate::limits::MAX_TEXT_BYTES;
use crate::model::llm::{AdapterConfig, LlamaConfig};
use crate::model::siglip_folder;
use crate::text::ChatTemplate;
use crate::{Error, Result};

/// Everything that a bundle's `config.json` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetokimConfig {
    /// What the model is called.
    pub name: String,
    /// The vision encoder.
    pub vision: VisionConfig,
    /// How an image becomes the encoder's square.
    #[serde(default)]
    pub preprocess: PreprocessConfig,
    /// How patches become clusters.
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
    /// Comes with `llm` where the template is ours.
    pub special_tokens: Option<SpecialTokens>,
    /// How a chat becomes tokens.
    #[serde(default)]
    pub chat: ChatConfig,
    /// What the language model learned for images, beside its matrices; absent where it was trained as a whole.
    #[serde(default)]
    pub adapters: Option<AdapterConfig>,
    /// Logits by which `[Img]` must beat words at the beginning of an answer about a picture. Training refuses few edits,
    /// so a trained model rather draws; `training/evaluation/tune.py` finds what puts that right.
    #[serde(default)]
    pub picture_margin: f32,
    /// How a model begins that will not mark, draw or edit, in whole words, such as "there is no": all that it may say
    /// where a mask or an image is asked for. Empty: it may say anything.
    #[serde(default)]
    pub refusals: Vec<String>,
    /// What the tasks say to the language model.
    #[serde(default)]
    pub prompts: PromptsConfig,
    /// How an edit is composited with its source.
    #[serde(default)]
    pub composite: CompositeConfig,
    /// How to tell an image that is unlike those of training; absent where nothing tells.
    pub familiarity: Option<FamiliarityConfig>,
}

/// How an image becomes the encoder's square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PreprocessConfig {
    /// What is done with an image that is not square.
    #[serde(default)]
    pub resize: ResizeMode,
    /// How pixels are taken together.
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
    /// Epsilon of the LayerNorm.
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
    /// Width of its layers, which is that of the features.
    pub width: usize,
    /// Attention heads of a layer.
    pub heads: usize,
    /// Inner width of the MLPs as a multiple of `width`.
    pub mlp_ratio: usize,
    /// Inner width of the MLPs where it is no multiple of `width`; 0 for `width * mlp_ratio`.
    #[serde(default)]
    pub mlp_hidden: usize,
    /// Blocks within clusters.
    pub inner_depth: usize,
    /// Blocks between clusters.
    pub inter_depth: usize,
    /// `D`: width of a semantic token.
    pub token_width: usize,
    /// Epsilon of the norms.
    pub norm_eps: f64,
    /// The reference code's form: attention layers under one norm, then one MLP, and no norm after the last layer.
    #[serde(default)]
    pub shared_blocks: bool,
    /// The encoder's head map joins each token, as its mean over the cluster.
    #[serde(default)]
    pub pooled_head: bool,
}

/// Phrase encoder: the mean of a phrase's word embeddings -> a direction that tokens and patches have too.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PhraseConfig {
    /// Width of a word embedding.
    pub input: usize,
    /// Width between its two layers.
    pub hidden: usize,
    /// Width of the space that phrases, tokens and patches share.
    pub width: usize,
    /// Logit with the best token from which on a phrase is there.
    #[serde(default)]
    pub found: f32,
}

/// Detokenizer: tokens -> pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DetokenizerConfig {
    /// Width of its layers.
    pub width: usize,
    /// Transformer blocks.
    pub depth: usize,
    /// Attention heads of a block.
    pub heads: usize,
    /// Inner width of the MLPs as a multiple of `width`.
    pub mlp_ratio: usize,
    /// Channels of the two convolutions over the pixels; 0 for none.
    pub refine_channels: usize,
    /// Epsilon of the norms.
    pub norm_eps: f64,
    /// Pixels down and across of the image that each token has of its own; 0 for none.
    #[serde(default)]
    pub layer_size: usize,
    /// Width of the layers that make it.
    #[serde(default)]
    pub layer_width: usize,
}

/// What the token heads can say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelsConfig {
    /// Names of things, then names of backgrounds.
    pub names: Vec<String>,
    /// How many of the names are things.
    pub objects: usize,
    /// Names of colours.
    pub colors: Vec<String>,
    /// Nouns of the encoder's own classes, where it has some: for each class one, or "" where it is not worth a name.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Probability of the likeliest name below which a photo model gives none.
    #[serde(default)]
    pub unsure: f32,
    /// The one of `colors` that stands for no colour in particular, if there is one.
    pub natural: Option<String>,
}

/// Diffusion head: hidden state -> semantic token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DiffusionConfig {
    /// Width of its layers.
    pub width: usize,
    /// Residual blocks.
    pub depth: usize,
    /// Times of the noise schedule.
    pub timesteps: usize,
    /// Epsilon of the norms.
    pub norm_eps: f64,
    /// Frequencies that tell a time, each as cosine and sine.
    pub time_frequencies: usize,
}

/// Mask head: hidden state and features -> mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskHeadConfig {
    /// Channels of its layers.
    pub width: usize,
    /// Moves the rim of a mask to the edges of the image.
    #[serde(default)]
    pub refine: bool,
}

/// How a chat becomes tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChatConfig {
    /// How turns are written down.
    pub template: ChatTemplate,
    /// The control token that asks the mask head for a mask, in a vocabulary that is not ours.
    pub segment: Option<String>,
}

/// Ids of the tokens that are not text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialTokens {
    /// Fills batches in training; never read here.
    pub pad: u32,
    /// First of every sequence.
    pub begin: u32,
    /// After every turn.
    pub end: u32,
    /// Begins the user's turn.
    pub user: u32,
    /// Begins the assistant's turn.
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
    /// How many tokens there are to copy with.
    pub keep_count: u32,
}

/// What the language model reads where a task is asked for; `{}` stands for the caller's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PromptsConfig {
    /// After the image, for [`describe`](crate::Setokim::describe), whole; absent in a model that was not trained to.
    pub describe: Option<String>,
    /// After the image, for [`segment`](crate::Setokim::segment).
    pub segment: String,
    /// For [`generate`](crate::Setokim::generate).
    pub generate: String,
    /// After the image, for [`edit`](crate::Setokim::edit).
    pub edit: String,
    /// Right after an image, what its tokens are called; absent in a model that is not told.
    pub names: Option<String>,
    /// How many names it is told, each once, those of the largest tokens first.
    pub most_names: usize,
}

impl Default for PromptsConfig {
    /// The caller's words as they are.
    fn default() -> Self {
        let words = || PLACE.to_owned();
        Self { describe: None, segment: words(), generate: words(), edit: words(), names: None, most_names: 0 }
    }
}

/// Where the caller's words go in a prompt.
const PLACE: &str = "{}";

impl PromptsConfig {
    /// The prompt with the caller's words in their place.
    pub(crate) fn fill(prompt: &str, words: &str) -> String {
        prompt.replacen(PLACE, words, 1)
    }
}

/// What of an edit's surroundings is taken from the generated image besides the patches that changed; see `rendering.rs`.
/// It follows from how exact the detokenizer is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CompositeConfig {
    /// Mean difference of nine pixels, of 1, that is the detokenizer's noise, and from which all of a pixel is new.
    pub rim: [f32; 2],
    /// How far a thing may lie from where it is rendered, in pixels.
    pub remnant_reach: usize,
    /// Of 255: more than texture has.
    pub strange: u8,
    /// Of 255: more than the detokenizer's noise.
    pub went: u8,
    /// Of 255: what shading has.
    pub alike: u8,
}

impl Default for CompositeConfig {
    /// Nothing besides the changed patches: no difference is that large.
    fn default() -> Self {
        Self { rim: [1.0, 2.0], remnant_reach: 0, strange: u8::MAX, went: u8::MAX, alike: 0 }
    }
}

/// How sure the name heads are of an image like those of training; of another they are less sure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FamiliarityConfig {
    /// Probability that the surest of the backgrounds has at least.
    pub background: f64,
    /// Mean probability of all patches' names at least.
    pub mean: f64,
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
            phrase: None,
            labels: None,
            llm: None,
            diffusion: None,
            mask_head: None,
            special_tokens: None,
            chat: ChatConfig::default(),
            adapters: None,
            picture_margin: 0.0,
            refusals: Vec::new(),
            prompts: PromptsConfig::default(),
            composite: CompositeConfig::default(),
            familiarity: None,
        }
    }
}

/// The language model's own checks, which also fill in what Hugging Face leaves out.
fn checked_llama<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<LlamaConfig>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(deserializer)?;
    let read = |value: serde_json::Value| LlamaConfig::from_json(&value.to_string());
    value.map(read).transpose().map_err(serde::de::Error::custom)
}
