//! Chat: any turns of text and images, answered with whatever the model sees fit.

use crate::Result;
use crate::model::answer::{AnswerOptions, Request, Task};
use crate::model::answering::Answering;
use crate::model::events::{Answer, AnswerPart};
use crate::model::language::{Message, Part};
use crate::model::setokim::Setokim;
use crate::text::Role;

impl Setokim {
    /// Answers the last message; masks and copied tokens are of the last image.
    ///
    /// Turns that the last request had as well are not read again.
    ///
    /// # Errors
    /// [`crate::Error::Prompt`] when there is nothing to answer; [`crate::Error::ContextOverflow`];
    /// [`crate::Error::Aborted`]; [`crate::Error::Unsupported`] for a model without a language model.
    pub fn chat(
        &self,
        messages: &[Message],
        options: &AnswerOptions,
    ) -> Answering<impl Future<Output = Result<Answer>>> {
        Answering::new(async move |events| {
            let language = self.language()?;
            let source = messages.iter().flat_map(Message::images).last().map(|image| &**image);
            let task = Task::Chat {
                masks: language.mask_head.is_some() && source.is_some(),
                images: language.diffusion.is_some() && self.detok().is_some(),
            };
            let turns = language.turns(messages)?;
            self.answer(Request { turns, source, task, options }, events).await
        })
    }
}

impl Answer {
    /// The answer as a message, to go on with the chat.
    pub fn to_message(&self) -> Message {
        let part = |part: &AnswerPart| match part {
            AnswerPart::Text(text) => Part::Text(text.clone()),
            AnswerPart::Mask(_) => Part::Mask,
            AnswerPart::Image(generated) => Part::Image(generated.to_encoded()),
        };
        Message { role: Role::Assistant, parts: self.parts.iter().map(part).collect() }
    }
}
