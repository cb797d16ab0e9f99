//! Referring segmentation: a phrase -> the pixels it means, or the model's word that nothing matches.

use std::sync::atomic::AtomicBool;

use super::typed;
use crate::event::{Event, Usage};
use crate::generate::{AnswerOptions, Request, Rules};
use crate::mask_head::Segmentation;
use crate::seen::Seen;
use crate::setokim::Setokim;
use crate::text::{Message, Part, Role};
use crate::{Error, Result};

/// The answer to a phrase.
#[derive(Debug, Clone)]
pub struct Segment {
    /// None when nothing in the picture matches.
    pub found: Option<Segmentation>,
    /// What the model said in place of a mask, such as "there is no dog".
    pub said: String,
    pub usage: Usage,
}

impl Setokim {
    /// The mask of what `phrase` means in a picture.
    ///
    /// # Errors
    /// [`Error::Prompt`] for an empty phrase, else as [`Setokim::chat`].
    pub async fn segment(
        &self,
        seen: &Seen,
        phrase: &str,
        options: &AnswerOptions,
        abort: &AtomicBool,
        on_event: impl AsyncFnMut(Event),
    ) -> Result<Segment> {
        let language = self.language()?;
        language.mask_head.as_ref().ok_or(Error::Unsupported("mask head"))?;
        let words = format!("segment {}", typed("phrase", phrase)?);
        let message = Message { role: Role::User, parts: vec![Part::Image, Part::Text(words)] };
        let rules = Rules { text: !options.insist, mask: true, picture: false, single: true, edit: false };
        let turns = language.turns(&[message], &[seen])?;
        let answer = self.answer(Request { turns, source: Some(seen), rules, options }, abort, on_event).await?;
        let found = answer.masks().find(|found| found.mask.area() > 0).cloned();
        Ok(Segment { found, said: answer.text(), usage: answer.usage })
    }
}
