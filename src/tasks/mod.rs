//! The four tasks of the paper's Figure 3, each a few lines around the decoding loop of `generate.rs`. Wordings are those of
//! the training data (`training/text.py`).

mod chat;
mod edit;
mod generate;
mod segment;

pub use self::edit::Edit;
pub use self::generate::Generation;
pub use self::segment::Segment;

use crate::language::MAX_REQUEST_BYTES;
use crate::setokim::Setokim;
use crate::{Error, Result};

impl Setokim {
    /// What this model can do, by the names of its methods.
    pub fn tasks(&self) -> Vec<&'static str> {
        let language = self.language().ok();
        let draws = self.detok().is_some() && language.is_some_and(|language| language.diffusion.is_some());
        let all = [
            ("tokenize", true),
            ("reconstruct", self.detok().is_some()),
            ("chat", language.is_some()),
            ("segment", language.is_some_and(|language| language.mask_head.is_some())),
            ("generate", draws),
            ("edit", draws),
        ];
        all.into_iter().filter_map(|(task, can)| can.then_some(task)).collect()
    }
}

/// What a person typed, without the blanks around it.
///
/// # Errors
/// [`Error::Prompt`] when nothing is left.
fn typed<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    match text.trim() {
        text if text.len() > MAX_REQUEST_BYTES => {
            Err(Error::Prompt(format!("the {what} is longer than {} MiB", MAX_REQUEST_BYTES >> 20)))
        }
        "" => Err(Error::Prompt(format!("the {what} is empty"))),
        text => Ok(text),
    }
}
