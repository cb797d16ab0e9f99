//! Generation: a prompt -> a picture and which pixels each of its tokens drew.

use std::sync::atomic::AtomicBool;

use super::typed;
use crate::drawing::Drawing;
use crate::event::{Event, Usage};
use crate::generate::{AnswerOptions, Request, Rules};
use crate::setokim::Setokim;
use crate::text::{Message, Role};
use crate::{Error, Result};

/// The answer to a prompt.
#[derive(Debug, Clone)]
pub struct Generation {
    /// None when the model answered in words, as to a prompt for something that it cannot draw.
    pub drawing: Option<Drawing>,
    /// What it said in place of a picture.
    pub said: String,
    pub usage: Usage,
}

impl Setokim {
    /// Draws what `prompt` describes.
    ///
    /// # Errors
    /// [`Error::Prompt`] for an empty prompt, [`Error::Setting`] where `max_tokens` leaves no room for the picture that is
    /// insisted on, else as [`Setokim::chat`].
    pub async fn generate(
        &self,
        prompt: &str,
        options: &AnswerOptions,
        abort: &AtomicBool,
        on_event: impl AsyncFnMut(Event),
    ) -> Result<Generation> {
        let language = self.language()?;
        language.diffusion.as_ref().ok_or(Error::Unsupported("diffusion head"))?;
        self.detok().ok_or(Error::Unsupported("detokenizer"))?;
        let message = Message::text(Role::User, format!("draw {}", typed("prompt", prompt)?));
        let rules = Rules { text: !options.insist, mask: false, picture: true, single: true, edit: false };
        let turns = language.turns(&[message], &[])?;
        let answer = self.answer(Request { turns, source: None, rules, options }, abort, on_event).await?;
        let drawing = answer.images().next().cloned();
        if options.insist && drawing.is_none() {
            return Err(Error::Setting("max_tokens leaves no room for a picture".into()));
        }
        Ok(Generation { drawing, said: answer.text(), usage: answer.usage })
    }
}
