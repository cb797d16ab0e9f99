//! Editing: a picture and an instruction -> the picture changed as little as the instruction allows.

use std::sync::atomic::AtomicBool;

use super::typed;
use crate::drawing::Drawing;
use crate::event::{Event, Usage};
use crate::generate::{AnswerOptions, Request, Rules};
use crate::seen::Seen;
use crate::setokim::Setokim;
use crate::text::{Message, Part, Role};
use crate::{Error, Result};

/// The answer to an instruction.
#[derive(Debug, Clone)]
pub struct Edit {
    /// In the source picture's frame. None when the model answered in words, as to an instruction about something absent.
    pub drawing: Option<Drawing>,
    /// What it said in place of a picture.
    pub said: String,
    pub usage: Usage,
}

impl Setokim {
    /// Changes a picture. [`AnswerOptions::pointers`] lets it copy tokens that stay, [`AnswerOptions::paste`] takes their
    /// pixels from the source.
    ///
    /// # Errors
    /// [`Error::Prompt`] for an empty instruction, else as [`Setokim::chat`].
    pub async fn edit(
        &self,
        seen: &Seen,
        instruction: &str,
        options: &AnswerOptions,
        abort: &AtomicBool,
        on_event: impl AsyncFnMut(Event),
    ) -> Result<Edit> {
        let language = self.language()?;
        language.diffusion.as_ref().ok_or(Error::Unsupported("diffusion head"))?;
        self.detok().ok_or(Error::Unsupported("detokenizer"))?;
        let words = typed("instruction", instruction)?.to_owned();
        let message = Message { role: Role::User, parts: vec![Part::Image, Part::Text(words)] };
        let rules = Rules { text: !options.insist, mask: false, picture: true, single: true, edit: true };
        let turns = language.turns(&[message], &[seen])?;
        let answer = self.answer(Request { turns, source: Some(seen), rules, options }, abort, on_event).await?;
        let drawing = answer.images().next().cloned();
        Ok(Edit { drawing, said: answer.text(), usage: answer.usage })
    }
}
