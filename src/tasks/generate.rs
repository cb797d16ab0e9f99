//! Generation: a prompt -> an image and which pixels each of its tokens rendered.

use super::{Generated, check_text};
use crate::Result;
use crate::model::answer::AnswerOptions;
use crate::model::answering::Answering;
use crate::model::config::PromptsConfig;
use crate::model::language::Message;
use crate::model::setokim::Setokim;
use crate::text::Role;

impl Setokim {
    /// Generates what `prompt` describes.
    ///
    /// # Errors
    /// [`Error::Prompt`](crate::Error::Prompt) for an empty prompt, [`Error::Setting`](crate::Error::Setting) where
    /// `max_tokens` leaves no room for the image that is required, else as [`Setokim::chat`].
    pub fn generate(
        &self,
        prompt: &str,
        options: &AnswerOptions,
    ) -> Answering<impl Future<Output = Result<Generated>>> {
        Answering::new(async move |events| {
            let words = PromptsConfig::fill(&self.config().prompts.generate, check_text("prompt", prompt)?);
            self.generate_image(Message::text(Role::User, words), options, events).await
        })
    }
}
