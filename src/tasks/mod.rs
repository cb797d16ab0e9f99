//! The four tasks of the paper's Figure 3, each a few lines around the decoding loop of `generate.rs`. Wordings are those of
//! the training data (`training/data/text.py`).

mod chat;
mod edit;
mod generate;
pub mod photo_edit;
mod segment;

pub use self::segment::Segment;

use std::sync::atomic::AtomicBool;

use crate::limits::MAX_REQUEST_BYTES;
use crate::model::answer::{AnswerOptions, Request, Task};
use crate::model::encoded_image::EncodedImage;
use crate::model::events::{Event, Usage};
use crate::model::rendering::GeneratedImage;
use crate::model::setokim::Setokim;
use crate::text::Message;
use crate::{Error, Result};

/// The answer to a prompt or to an instruction.
#[derive(Debug, Clone)]
pub struct Generated {
    /// In the frame of the source image, where there is one. None when the model answered in words, as to a prompt for
    /// something that it cannot draw or an instruction about something absent.
    pub image: Option<GeneratedImage>,
    /// What it text in place of an image.
    pub text: String,
    pub usage: Usage,
}

impl Setokim {
    /// An image for one message, or words in its place; of `source`, which the message then names.
    async fn generate_image(
        &self,
        message: Message,
        source: Option<&EncodedImage>,
        options: &AnswerOptions,
        abort: &AtomicBool,
        on_event: impl AsyncFnMut(Event),
    ) -> Result<Generated> {
        let language = self.language()?;
        language.diffusion.as_ref().ok_or(Error::Unsupported("diffusion head"))?;
        self.detok().ok_or(Error::Unsupported("detokenizer"))?;
        let task = if source.is_some() { Task::Edit } else { Task::Generate };
        let turns = language.turns(&[message], source.as_slice())?;
        let answer = self.answer(Request { turns, source, task, options }, abort, on_event).await?;
        let image = answer.images().next().cloned();
        if options.required && image.is_none() {
            return Err(Error::Setting("max_tokens leaves no room for a picture".into()));
        }
        Ok(Generated { image, text: answer.text(), usage: answer.usage })
    }

    /// What this model can do, by the names of its methods.
    pub fn tasks(&self) -> Vec<&'static str> {
        let language = self.language().ok();
        let draws = self.detok().is_some() && language.is_some_and(|language| language.diffusion.is_some());
        let segments = language.is_some_and(|language| language.mask_head.is_some());
        let all = [
            ("tokenize", true),
            ("reconstruct", self.detok().is_some()),
            ("chat", language.is_some()),
            ("segment", segments),
            ("generate", draws),
            ("edit", draws || segments && self.detok().is_none()),
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
