//! Description: an image -> a sentence about it.

use std::sync::atomic::AtomicBool;

use crate::model::answer::{AnswerOptions, Request, Task};
use crate::model::encoded_image::EncodedImage;
use crate::model::events::{Answer, Event};
use crate::model::setokim::Setokim;
use crate::text::{Message, Part, Role};
use crate::{Error, Result};

impl Setokim {
    /// What is in an image, in the words of the question that the model was trained with (`prompts.describe`).
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a model without such a question, else as [`Setokim::chat`].
    pub async fn describe(
        &self,
        encoded: &EncodedImage,
        options: &AnswerOptions,
        abort: &AtomicBool,
        on_event: impl AsyncFnMut(Event),
    ) -> Result<Answer> {
        let question = self.config().prompts.describe.clone().ok_or(Error::Unsupported("description"))?;
        let message = Message { role: Role::User, parts: vec![Part::Image, Part::Text(question)] };
        let turns = self.language()?.turns(&[message], &[encoded])?;
        let task = Task::Chat { masks: false, images: false };
        self.answer(Request { turns, source: Some(encoded), task, options }, abort, on_event).await
    }
}
