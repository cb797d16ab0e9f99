//! Editing: a picture and an instruction -> the picture changed as little as the instruction allows.

use std::sync::atomic::AtomicBool;

use super::{Drawn, typed};
use crate::Result;
use crate::event::Event;
use crate::generate::AnswerOptions;
use crate::seen::Seen;
use crate::setokim::Setokim;
use crate::text::{Message, Part, Role};

impl Setokim {
    /// Changes a picture. [`AnswerOptions::pointers`] lets it copy tokens that stay, [`AnswerOptions::paste`] takes their
    /// pixels from the source.
    ///
    /// # Errors
    /// As [`Setokim::generate`].
    pub async fn edit(
        &self,
        seen: &Seen,
        instruction: &str,
        options: &AnswerOptions,
        abort: &AtomicBool,
        on_event: impl AsyncFnMut(Event),
    ) -> Result<Drawn> {
        let words = typed("instruction", instruction)?.to_owned();
        let message = Message { role: Role::User, parts: vec![Part::Image, Part::Text(words)] };
        self.draw(message, Some(seen), options, abort, on_event).await
    }
}
