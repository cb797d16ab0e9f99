//! Chats as token ids. Templates place control tokens themselves; messages are only ever text.

use serde::{Deserialize, Serialize};

use super::tokenizer::Tokenizer;
use crate::{Error, Result};

/// Control tokens of our own vocabulary, named here and nowhere else.
pub mod names {
    /// Begins a chat.
    pub const BEGIN: &str = "<bos>";
    /// Begins the user's message.
    pub const USER: &str = "<user>";
    /// Begins the assistant's message.
    pub const ASSISTANT: &str = "<assistant>";
    /// Ends a message.
    pub const END: &str = "<end>";
    /// Ends a message in ChatML, SmolLM2's template.
    pub const CHAT_ML_END: &str = "<|im_end|>";
    /// Before and after the visual tokens of an image.
    pub const IMAGE: &str = "[Img]";
    /// After the visual tokens of an image.
    pub const IMAGE_END: &str = "[/Img]";
    /// Stands for a visual token that the diffusion head draws.
    pub const VISUAL: &str = "<vis>";
    /// Asks the mask decoder for a mask.
    pub const SEGMENT: &str = "[SEG]";
    /// Stands for visual token `index` of the last image, unchanged.
    pub fn keep(index: usize) -> String {
        format!("<keep_{index}>")
    }
}

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions before the chat; not for models of our own.
    System,
    /// The person who asks.
    User,
    /// The model.
    Assistant,
}

/// What a message is made of, in order, with images in some form `I`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<I> {
    /// Text.
    Text(String),
    /// An image.
    Image(I),
    /// A mask that the assistant answered with; only our own template has a token for it.
    Mask,
}

/// What one side says in a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<I> {
    /// Who says it.
    pub role: Role,
    /// What it consists of, in order.
    pub parts: Vec<Part<I>>,
}

impl<I> Message<I> {
    /// A message of text alone.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, parts: vec![Part::Text(text.into())] }
    }

    /// Its images, in order.
    pub fn images(&self) -> impl Iterator<Item = &I> {
        self.parts.iter().filter_map(|part| match part {
            Part::Image(image) => Some(image),
            Part::Text(_) | Part::Mask => None,
        })
    }
}

/// What a prompt is made of, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptPiece<'a, I> {
    /// Token ids.
    Ids(Vec<u32>),
    /// The visual tokens of an image.
    Image(&'a I),
    /// Nothing to read: here the assistant begins to speak.
    Answer,
}

/// How a chat is written down for a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatTemplate {
    /// `<|im_start|>user\n..<|im_end|>\n`, as SmolLM2 and Qwen have it. No system message is put in. An image stands
    /// between line breaks, without marks around it.
    ChatMl,
    /// `<bos><user>..<end><assistant>..<end>`: ours. There are no system messages.
    #[default]
    Setokim,
}

impl ChatTemplate {
    /// A chat up to where the assistant answers.
    pub fn encode<'a, I>(
        self,
        tokenizer: &'a Tokenizer,
        messages: &'a [Message<I>],
    ) -> Result<Vec<PromptPiece<'a, I>>> {
        let mut prompt = Prompt { template: self, tokenizer, pieces: Vec::new() };
        match self {
            Self::ChatMl => {
                for Message { role, parts } in messages {
                    prompt.control("<|im_start|>")?;
                    if *role == Role::Assistant {
                        prompt.text("assistant\n")?;
                        prompt.pieces.push(PromptPiece::Answer);
                        prompt.parts("", parts)?;
                    } else {
                        prompt.parts(&format!("{}\n", role.name()), parts)?;
                    }
                    prompt.control(names::CHAT_ML_END)?;
                    prompt.text("\n")?;
                }
                prompt.control("<|im_start|>")?;
                prompt.text("assistant\n")?;
            }
            Self::Setokim => {
                prompt.control(names::BEGIN)?;
                for Message { role, parts } in messages {
                    prompt.control(match role {
                        Role::System => return Err(Error::Unsupported("system messages")),
                        Role::User => names::USER,
                        Role::Assistant => names::ASSISTANT,
                    })?;
                    if *role == Role::Assistant {
                        prompt.pieces.push(PromptPiece::Answer);
                    }
                    prompt.parts("", parts)?;
                    prompt.control(names::END)?;
                }
                prompt.control(names::ASSISTANT)?;
            }
        }
        prompt.pieces.push(PromptPiece::Answer);
        Ok(prompt.pieces)
    }
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// A prompt being written.
struct Prompt<'a, I> {
    template: ChatTemplate,
    tokenizer: &'a Tokenizer,
    pieces: Vec<PromptPiece<'a, I>>,
}

impl<'a, I> Prompt<'a, I> {
    fn control(&mut self, name: &str) -> Result<()> {
        self.ids(&[self.tokenizer.control(name)?]);
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<()> {
        self.ids(&self.tokenizer.encode(text)?);
        Ok(())
    }

    /// `before` and the text after it are encoded as one, as they are in training.
    fn parts(&mut self, before: &str, parts: &'a [Part<I>]) -> Result<()> {
        let mut text = before.to_owned();
        for part in parts {
            match part {
                Part::Text(more) => text += more,
                Part::Image(image) => {
                    self.text(&std::mem::take(&mut text))?;
                    text += self.image(image)?;
                }
                // What was found is not said again where a vocabulary has no word for it.
                Part::Mask if self.template == ChatTemplate::ChatMl => {}
                Part::Mask => {
                    self.text(&std::mem::take(&mut text))?;
                    self.control(names::SEGMENT)?;
                }
            }
        }
        self.text(&text)
    }

    /// An image; what the text after it begins with.
    fn image(&mut self, image: &'a I) -> Result<&'static str> {
        let piece = PromptPiece::Image(image);
        if self.template == ChatTemplate::ChatMl {
            self.pieces.push(piece);
            return Ok("\n");
        }
        self.control(names::IMAGE)?;
        self.pieces.push(piece);
        self.control(names::IMAGE_END)?;
        Ok("")
    }

    fn ids(&mut self, ids: &[u32]) {
        if let Some(PromptPiece::Ids(last)) = self.pieces.last_mut() {
            last.extend_from_slice(ids);
        } else if !ids.is_empty() {
            self.pieces.push(PromptPiece::Ids(ids.to_vec()));
        }
    }
}
