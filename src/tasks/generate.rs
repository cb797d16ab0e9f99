//! Generation: a prompt -> an image and which pixels each of its tokens drew.

use std::sync::atomic::AtomicBool;

use super::{Generated, check_text};
use crate::Result;
use crate::model::answer::AnswerOptions;
use crate::model::config::PromptsConfig;
use crate::model::events::Event;
use crate::model::setokim::Setokim;
use crate::text::{Message, Role};

impl Setokim {
    /// Draws what `prompt` describes.
    ///
    /// # Errors
    /// [`Error::Prompt`](crate::Error::Prompt) for an empty prompt, [`Error::Setting`](crate::Error::Setting) where
    /// `max_tokens` leaves no room for the image that is insisted on, else as [`Setokim::chat`].
    pub async fn generate(
        &self,
        prompt: &str,
        options: &AnswerOptions,
        abort: &AtomicBool,
        on_event: impl AsyncFnMut(Event),
    ) -> Result<Generated> {
        let words = PromptsConfig::fill(&self.config().prompts.generate, check_text("prompt", prompt)?);
        let message = Message::text(Role::User, words);
        self.generate_image(message, None, options, abort, on_event).await
    }
}
