//! The four tasks of the paper's Figure 3, and description: each a few lines around the decoding loop of `model/decode.rs`.
//! What they say to the language model is the model's own affair: `prompts` in its `config.json`.

mod chat;
mod describe;
mod edit;
mod generate;
pub mod photo_edit;
mod segment;

pub use self::segment::Segment;

use crate::limits::MAX_REQUEST_BYTES;
use crate::model::answer::{AnswerOptions, Request, Task};
use crate::model::answering::Events;
use crate::model::events::Usage;
use crate::model::language::Message;
use crate::model::rendering::GeneratedImage;
use crate::model::setokim::Setokim;
use crate::{Error, Result};

/// The answer to a prompt or to an instruction.
#[derive(Debug, Clone)]
pub struct Generated {
    /// In the frame of the source image, where there is one. None when the model answered in words, as to a prompt for
    /// something that it cannot draw or an instruction about something absent.
    pub image: Option<GeneratedImage>,
    /// What it said in place of an image.
    pub text: String,
    /// What it took.
    pub usage: Usage,
}

impl Setokim {
    /// An image for one message, or words in its place; a changed one where the message has an image.
    async fn generate_image(&self, message: Message, options: &AnswerOptions, events: Events) -> Result<Generated> {
        let language = self.language()?;
        language.diffusion.as_ref().ok_or(Error::Unsupported("diffusion head"))?;
        self.detok().ok_or(Error::Unsupported("detokenizer"))?;
        let source = message.images().next().cloned();
        let task = if source.is_some() { Task::Edit } else { Task::Generate };
        let turns = language.turns(&[message])?;
        let answer = self.answer(Request { turns, source: source.as_deref(), task, options }, events).await?;
        let image = answer.images().next().cloned();
        if options.required && image.is_none() {
            return Err(Error::Setting("max_tokens leaves no room for a picture".into()));
        }
        Ok(Generated { image, text: answer.text(), usage: answer.usage })
    }

    /// Whether a phrase can be found in an image.
    fn finds(&self) -> bool {
        self.language().is_ok_and(|language| language.mask_head.is_some() || self.phrases().is_ok())
    }

    /// Whether an edit changes the pixels of what is found, because nothing can be drawn.
    fn edits_photos(&self) -> bool {
        self.detok().is_none() && self.finds()
    }

    /// What this model can do, by the names of its methods.
    pub fn tasks(&self) -> Vec<&'static str> {
        let language = self.language().ok();
        let draws = self.detok().is_some() && language.is_some_and(|language| language.diffusion.is_some());
        let all = [
            ("tokenize", true),
            ("reconstruct", self.detok().is_some()),
            ("chat", language.is_some()),
            ("describe", language.is_some() && self.config().prompts.describe.is_some()),
            ("segment", self.finds()),
            ("generate", draws),
            ("edit", draws || self.edits_photos()),
        ];
        all.into_iter().filter_map(|(task, can)| can.then_some(task)).collect()
    }
}

/// What a person typed, without the blanks around it.
///
/// # Errors
/// [`Error::Prompt`] when nothing is left.
fn check_text<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    match text.trim() {
        text if text.len() > MAX_REQUEST_BYTES => {
            Err(Error::Prompt(format!("the {what} is longer than {} MiB", MAX_REQUEST_BYTES >> 20)))
        }
        "" => Err(Error::Prompt(format!("the {what} is empty"))),
        text => Ok(text),
    }
}
