//! Editing: an image and an instruction -> the image changed as little as the instruction allows.

use std::sync::atomic::AtomicBool;

use super::{Generated, check_text};
use crate::Result;
use crate::model::answer::AnswerOptions;
use crate::model::config::PromptsConfig;
use crate::model::encoded_image::EncodedImage;
use crate::model::events::Event;
use crate::model::setokim::Setokim;
use crate::text::{Message, Part, Role};

impl Setokim {
    /// Changes an image. [`AnswerOptions::copy_tokens`] lets it copy tokens that stay, [`AnswerOptions::composite`] takes their
    /// pixels from the source.
    ///
    /// # Errors
    /// As [`Setokim::generate`].
    pub async fn edit(
        &self,
        encoded: &EncodedImage,
        instruction: &str,
        options: &AnswerOptions,
        abort: &AtomicBool,
        on_event: impl AsyncFnMut(Event),
    ) -> Result<Generated> {
        let words = PromptsConfig::fill(&self.config().prompts.edit, check_text("instruction", instruction)?);
        let message = Message { role: Role::User, parts: vec![Part::Image, Part::Text(words)] };
        self.generate_image(message, Some(encoded), options, abort, on_event).await
    }
}
