//! Generation: a prompt -> a picture and which pixels each of its tokens drew.

use std::sync::atomic::AtomicBool;

use super::{Drawn, typed};
use crate::Result;
use crate::event::Event;
use crate::generate::AnswerOptions;
use crate::setokim::Setokim;
use crate::text::{Message, Role};

impl Setokim {
    /// Draws what `prompt` describes.
    ///
    /// # Errors
    /// [`Error::Prompt`](crate::Error::Prompt) for an empty prompt, [`Error::Setting`](crate::Error::Setting) where
    /// `max_tokens` leaves no room for the picture that is insisted on, else as [`Setokim::chat`].
    pub async fn generate(
        &self,
        prompt: &str,
        options: &AnswerOptions,
        abort: &AtomicBool,
        on_event: impl AsyncFnMut(Event),
    ) -> Result<Drawn> {
        let message = Message::text(Role::User, format!("draw {}", typed("prompt", prompt)?));
        self.draw(message, None, options, abort, on_event).await
    }
}
