//! Which configs are refused.

use super::{ClusterConfig, CompositeConfig, PLACE, PromptsConfig, SetokimConfig, SpecialTokens, VisionConfig};
use crate::limits::{MAX_CENTERS, MAX_NEIGHBORS, MAX_PATCHES, MAX_REFUSALS, MAX_REMNANT_REACH};
use crate::model::llm::AdapterConfig;
use crate::text::ChatTemplate;
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
        self.check_labels()?;
        self.check_language()
    }

    fn check_labels(&self) -> Result<()> {
        let Some(labels) = &self.labels else {
            return require(self.familiarity.is_none(), "familiarity needs labels: it goes by their probabilities");
        };
        sizes("labels", &[labels.names.len(), labels.colors.len().max(1)])?;
        require(labels.objects <= labels.names.len(), "labels.objects must be at most the number of labels.names")?;
        let is_color = labels.natural.iter().all(|natural| labels.colors.contains(natural));
        require(is_color, "labels.natural must be one of labels.colors")?;
        let classes = match &self.vision {
            VisionConfig::EfficientNet(net) => net.classes,
            VisionConfig::Vit(_) | VisionConfig::Siglip(_) => 0,
        };
        require(labels.classes.len() == classes, "labels.classes must be one for each of vision.classes")?;
        let is_share = |share: f64| (0.0..=1.0).contains(&share);
        let fits = self.familiarity.is_none_or(|known| is_share(known.background) && is_share(known.mean));
        require(fits, "familiarity.background and familiarity.mean must lie in 0..=1")
    }

    /// What is said to the language model, and what becomes of its images.
    fn check_tasks(&self) -> Result<()> {
        let PromptsConfig { segment, generate, edit, names, .. } = &self.prompts;
        let has_place = |prompt: &String| prompt.matches(PLACE).count() == 1;
        require(
            [segment, generate, edit].into_iter().chain(names).all(has_place),
            "prompts must have {} once, for the words",
        )?;
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
            let stands_alone = self.diffusion.is_none() && self.mask_head.is_none() && self.adapters.is_none();
            return require(stands_alone, "diffusion, mask_head and adapters need an llm");
        };
        self.adapters.as_ref().map_or(Ok(()), AdapterConfig::check)?;
        require(self.merger.is_some(), "an llm needs a merger: it reads semantic tokens")?;
        if self.chat.template == ChatTemplate::ChatMl {
            require(self.diffusion.is_none(), "a model that draws needs the chat template `setokim`")?;
            let can_ask = self.mask_head.is_none() || self.chat.segment.is_some();
            return require(can_ask, "a mask_head needs the name of a token in chat.segment");
        }
        let special = self.special_tokens.ok_or_else(|| Error::Config("an llm needs special_tokens".into()))?;
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

pub(super) fn require(holds: bool, message: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Config(message.into())) }
}

pub(super) fn heads_fit(part: &str, width: usize, heads: usize) -> Result<()> {
    require(heads > 0 && width.is_multiple_of(heads), &format!("{part}: width must be a multiple of heads"))
}

/// Generous bounds that keep a hostile config from asking for absurd memory.
pub(super) fn sizes(part: &str, values: &[usize]) -> Result<()> {
    require(values.iter().all(|v| (1..=65_536).contains(v)), &format!("{part}: sizes must lie in 1..=65536"))
}
