//! Generation: a prompt -> a picture and which pixels each of its tokens drew.

use std::sync::atomic::AtomicBool;

use super::typed;
use crate::drawing::Drawing;
use crate::event::{Event, Usage};
use crate::generate::{AnswerOptions, Request, Rules};
use crate::setokim::Setokim;
use crate::text::{Message, Role};
use crate::{Error, Result};

/// A generated picture.
#[derive(Debug, Clone)]
pub struct Generation {
    pub drawing: Drawing,
    pub usage: Usage,
}

impl Setokim {
    /// Draws what `prompt` describes.
    ///
    /// # Errors
    /// [`Error::Prompt`] for an empty prompt, [`Error::Setting`] for settings that cannot draw, else as [`Setokim::chat`].
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
        let rules = Rules { text: false, mask: false, picture: true, single: true, edit: false };
        let turns = language.turns(&[message], &[])?;
        let answer = self.answer(Request { turns, source: None, rules, options }, abort, on_event).await?;
        let drawing = answer.images().next().cloned();
        let drawing = drawing.ok_or_else(|| Error::Setting("max_tokens leaves no room for a picture".into()))?;
        Ok(Generation { drawing, usage: answer.usage })
    }
}
