//! The four tasks of the paper's Figure 3, each a few lines around the decoding loop of `generate.rs`. Wordings are those of
//! the training data (`training/text.py`).

mod chat;
mod edit;
mod generate;
mod segment;

pub use self::edit::Edit;
pub use self::generate::Generation;
pub use self::segment::Segment;

use crate::{Error, Result};

/// What a person typed, without the blanks around it.
///
/// # Errors
/// [`Error::Prompt`] when nothing is left.
fn typed<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    match text.trim() {
        "" => Err(Error::Prompt(format!("the {what} is empty"))),
        text => Ok(text),
    }
}
