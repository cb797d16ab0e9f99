//! Text to token ids and back: byte-level BPE, chat templates, and streaming that never shows half a character.

pub mod streaming;
pub mod template;
pub mod tokenizer;

pub use self::streaming::TextStream;
pub use self::template::{ChatTemplate, Message, Part, PromptPiece, Role};
pub use self::tokenizer::Tokenizer;
