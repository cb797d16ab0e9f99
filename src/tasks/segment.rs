//! Referring segmentation: a phrase -> the pixels it means, or the model's word that nothing matches.

use std::sync::atomic::AtomicBool;

use super::check_text;
use crate::model::answer::{AnswerOptions, Request, Task};
use crate::model::encoded_image::EncodedImage;
use crate::model::events::{Event, Usage};
use crate::model::mask_head::Segmentation;
use crate::model::setokim::Setokim;
use crate::text::{Message, Part, Role};
use crate::{Error, Result};

/// The answer to a phrase.
#[derive(Debug, Clone)]
pub struct Segment {
    /// None when nothing in the image matches.
    pub mask: Option<Segmentation>,
    /// What the model text in place of a mask, such as "there is no dog".
    pub text: String,
    pub usage: Usage,
}

impl Setokim {
    /// The mask of what `phrase` means in an image; in lower case, as all phrases of training are. A model without a mask head
    /// finds it with its phrase encoder.
    ///
    /// # Errors
    /// [`Error::Prompt`] for an empty phrase, else as [`Setokim::chat`].
    pub async fn segment(
        &self,
        encoded: &EncodedImage,
        phrase: &str,
        options: &AnswerOptions,
        abort: &AtomicBool,
        on_event: impl AsyncFnMut(Event),
    ) -> Result<Segment> {
        let language = self.language()?;
        let phrase = check_text("phrase", phrase)?.to_lowercase();
        if language.mask_head.is_none() && self.phrases().is_ok() {
            let mask = self.find_by_words(encoded, &phrase).await?;
            return Ok(Segment { mask, text: String::new(), usage: Usage::default() });
        }
        language.mask_head.as_ref().ok_or(Error::Unsupported("mask head"))?;
        let words = self.config().prompts.segment.replacen("{}", &phrase, 1);
        let message = Message { role: Role::User, parts: vec![Part::Image, Part::Text(words)] };
        let turns = language.turns(&[message], &[encoded])?;
        let answer = self
            .answer(Request { turns, source: Some(encoded), task: Task::Segment, options }, abort, on_event)
            .await?;
        let mask = answer.masks().find(|found| found.mask.area() > 0).cloned();
        Ok(Segment { mask, text: answer.text(), usage: answer.usage })
    }
}
