//! Chat: any turns of text and images, answered with whatever the model sees fit.

use std::sync::atomic::AtomicBool;

use crate::Result;
use crate::model::answer::{AnswerOptions, Request, Task};
use crate::model::encoded_image::EncodedImage;
use crate::model::events::{Answer, AnswerPart, Event};
use crate::model::setokim::Setokim;
use crate::text::{Message, Part, Role};

impl Setokim {
    /// Answers the last message. `images` take the places of [`Part::Image`] in their order.
    ///
    /// Turns that the last request had as well are not read again.
    ///
    /// # Errors
    /// [`crate::Error::Prompt`] when there is nothing to answer, or images and their places are not equally many;
    /// [`crate::Error::ContextOverflow`]; [`crate::Error::Aborted`]; [`crate::Error::Unsupported`] for a model without a
    /// language model.
    pub async fn chat(
        &self,
        messages: &[Message],
        images: &[&EncodedImage],
        options: &AnswerOptions,
        abort: &AtomicBool,
        on_event: impl AsyncFnMut(Event),
    ) -> Result<Answer> {
        let language = self.language()?;
        let source = images.last().copied();
        let task = Task::Chat {
            masks: language.mask_head.is_some() && source.is_some(),
            images: language.diffusion.is_some() && self.detok().is_some(),
        };
        let turns = language.turns(messages, images)?;
        self.answer(Request { turns, source, task, options }, abort, on_event).await
    }
}

impl Answer {
    /// The answer as a message, to go on with the chat; its images, in order, are [`Answer::images`].
    pub fn to_message(&self) -> Message {
        let part = |part: &AnswerPart| match part {
            AnswerPart::Text(text) => Part::Text(text.clone()),
            AnswerPart::Mask(_) => Part::Mask,
            AnswerPart::Image(_) => Part::Image,
        };
        Message { role: Role::Assistant, parts: self.parts.iter().map(part).collect() }
    }
}
