//! Description: an image -> a sentence about it.

use std::sync::Arc;

use crate::model::answer::{AnswerOptions, Request, Task};
use crate::model::answering::Answering;
use crate::model::encoded_image::EncodedImage;
use crate::model::events::Answer;
use crate::model::language::{Message, Part};
use crate::model::setokim::Setokim;
use crate::text::Role;
use crate::{Error, Result};

impl Setokim {
    /// What is in an image, in the words of the question that the model was trained with (`prompts.describe`).
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a model without such a question, else as [`Setokim::chat`].
    pub fn describe(
        &self,
        encoded: &Arc<EncodedImage>,
        options: &AnswerOptions,
    ) -> Answering<impl Future<Output = Result<Answer>>> {
        Answering::new(async move |events| {
            let question =
                self.config().prompts.describe.clone().ok_or(Error::Unsupported("question for descriptions"))?;
            let message = Message { role: Role::User, parts: vec![Part::Image(encoded.clone()), Part::Text(question)] };
            let turns = self.language()?.turns(&[message])?;
            let task = Task::Chat { masks: false, images: false };
            self.answer(Request { turns, source: Some(encoded), task, options }, events).await
        })
    }
}
