//! Which configs are refused.

use super::{ClusterConfig, CompositeConfig, PLACE, PromptsConfig, SetokimConfig, SpecialTokens, VisionConfig};
use crate::limits::{MAX_CENTERS, MAX_NEIGHBORS, MAX_PATCHES, MAX_REFUSALS, MAX_REMNANT_REACH, MAX_SQUARE_SIZE};
use crate::{Error, Result};

impl SetokimConfig {
    pub(super) fn check(&self) -> Result<()> {
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
        self.check_labels()?;
        self.check_language()
    }

    fn check_labels(&self) -> Result<()> {
        let Some(labels) = &self.labels else {
            return require(self.familiarity.is_none(), "familiarity needs labels: it goes by their probabilities");
        };
        sizes("labels", &[labels.names.len(), labels.colors.len()])?;
        require(labels.objects <= labels.names.len(), "labels.objects must be at most the number of labels.names")?;
        let is_color = labels.natural.iter().all(|natural| labels.colors.contains(natural));
        require(is_color, "labels.natural must be one of labels.colors")?;
        let is_share = |share: f64| (0.0..=1.0).contains(&share);
        let fits = self.familiarity.is_none_or(|known| is_share(known.background) && is_share(known.mean));
        require(fits, "familiarity.background and familiarity.mean must lie in 0..=1")
    }

    /// What is said to the language model, and what becomes of its images.
    fn check_tasks(&self) -> Result<()> {
        let PromptsConfig { segment, generate, edit } = &self.prompts;
        let has_place = |prompt: &String| prompt.matches(PLACE).count() == 1;
        require([segment, generate, edit].into_iter().all(has_place), "prompts must have {} once, for the words")?;
        let CompositeConfig { rim: [low, high], remnant_reach, .. } = self.composite;
        require(0.0 <= low && low < high && high.is_finite(), "composite.rim must be two rising numbers from 0")?;
        let fits = remnant_reach <= MAX_REMNANT_REACH;
        require(fits, &format!("composite.remnant_reach must be at most {MAX_REMNANT_REACH}"))
    }

    fn check_language(&self) -> Result<()> {
        self.check_tasks()?;
        if let Some(diffusion) = &self.diffusion {
            let frequencies = diffusion.time_frequencies;
            sizes("diffusion", &[diffusion.width, diffusion.depth, diffusion.timesteps, frequencies])?;
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

impl VisionConfig {
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
            let known = ["gelu_pytorch_tanh", "gelu"].contains(&siglip.hidden_act.as_str());
            require(known, "vision.hidden_act must be gelu_pytorch_tanh or gelu")?;
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
