//! Referring segmentation: a phrase -> the pixels it means, or the model's word that nothing matches.

use std::sync::Arc;

use super::check_text;
use crate::model::answer::{AnswerOptions, Request, Task};
use crate::model::answering::Answering;
use crate::model::config::PromptsConfig;
use crate::model::encoded_image::EncodedImage;
use crate::model::events::Usage;
use crate::model::language::{Message, Part};
use crate::model::mask_head::Segmentation;
use crate::model::setokim::Setokim;
use crate::text::Role;
use crate::{Error, Result};

/// The answer to a phrase.
#[derive(Debug, Clone)]
pub struct Segment {
    /// None when nothing in the image matches.
    pub mask: Option<Segmentation>,
    /// What the model said in place of a mask, such as "there is no dog".
    pub text: String,
    /// What it took.
    pub usage: Usage,
}

impl Setokim {
    /// The mask of what `phrase` means in an image; in lower case, as all phrases of training are. A model without a mask head
    /// finds it with its phrase encoder.
    ///
    /// # Errors
    /// [`Error::Prompt`] for an empty phrase, else as [`Setokim::chat`].
    pub fn segment(
        &self,
        encoded: &Arc<EncodedImage>,
        phrase: &str,
        options: &AnswerOptions,
    ) -> Answering<impl Future<Output = Result<Segment>>> {
        Answering::new(async move |events| {
            let language = self.language()?;
            let phrase = check_text("phrase", phrase)?.to_lowercase();
            if language.mask_head.is_none() && self.phrases().is_ok() {
                let mask = self.find_by_words(encoded, &phrase).await?;
                return Ok(Segment { mask, text: String::new(), usage: Usage::default() });
            }
            language.mask_head.as_ref().ok_or(Error::Unsupported("mask head"))?;
            let words = PromptsConfig::fill(&self.config().prompts.segment, &phrase);
            let parts = vec![Part::Image(encoded.clone()), Part::Text(words)];
            let turns = language.turns(&[Message { role: Role::User, parts }])?;
            let request = Request { turns, source: Some(encoded), task: Task::Segment, options };
            let answer = self.answer(request, events).await?;
            let mask = answer.masks().find(|found| found.mask.area() > 0).cloned();
            Ok(Segment { mask, text: answer.text(), usage: answer.usage })
        })
    }
}
