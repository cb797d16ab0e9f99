//! Editing: an image and an instruction -> the image changed as little as the instruction allows.

use std::sync::Arc;

use super::{Generated, check_text};
use crate::Result;
use crate::model::answer::AnswerOptions;
use crate::model::answering::Answering;
use crate::model::config::PromptsConfig;
use crate::model::encoded_image::EncodedImage;
use crate::model::language::{Message, Part};
use crate::model::setokim::Setokim;
use crate::text::Role;

impl Setokim {
    /// Changes an image. [`AnswerOptions::copy_tokens`] lets it copy tokens that stay, [`AnswerOptions::composite`] takes
    /// their pixels from the source.
    ///
    /// # Errors
    /// As [`Setokim::generate`].
    pub fn edit(
        &self,
        encoded: &Arc<EncodedImage>,
        instruction: &str,
        options: &AnswerOptions,
    ) -> Answering<impl Future<Output = Result<Generated>>> {
        Answering::new(async move |events| {
            let words = PromptsConfig::fill(&self.config().prompts.edit, check_text("instruction", instruction)?);
            let parts = vec![Part::Image(encoded.clone()), Part::Text(words)];
            self.generate_image(Message { role: Role::User, parts }, options, events).await
        })
    }
}
