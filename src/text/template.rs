//! Chats as token ids. Templates place control tokens themselves; messages are only ever text.

use super::tokenizer::Tokenizer;
use crate::Result;

/// Control tokens of our own vocabulary, named here and nowhere else.
pub mod names {
    pub const SYSTEM: &str = "<|system|>";
    pub const USER: &str = "<|user|>";
    pub const ASSISTANT: &str = "<|assistant|>";
    pub const END: &str = "<|end|>";
    /// Before and after the visual tokens of a picture.
    pub const IMAGE: &str = "[Img]";
    pub const IMAGE_END: &str = "[/Img]";
    /// Asks the mask decoder for a mask.
    pub const SEGMENT: &str = "[SEG]";
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
}

/// What a message is made of, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Text(String),
    /// The next picture of the request.
    Image,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    pub parts: Vec<Part>,
}

impl Message {
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, parts: vec![Part::Text(text.into())] }
    }
}

/// What a prompt is made of, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptPiece {
    Ids(Vec<u32>),
    /// The visual tokens of picture number `.0`, counted over the whole chat.
    Image(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatTemplate {
    /// `<|im_start|>user\n..<|im_end|>\n`, as SmolLM2 and Qwen have it. No system message is put in.
    ChatMl,
    /// `<|user|>..<|assistant|>..<|end|>`: ours.
    Setokim,
}

impl ChatTemplate {
    /// A chat up to where the assistant answers.
    pub fn encode(self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<PromptPiece>> {
        let mut prompt = Prompt { tokenizer, pieces: Vec::new(), images: 0 };
        for message in messages {
            match self {
                Self::ChatMl => {
                    prompt.control("<|im_start|>")?;
                    prompt.parts(role_name(message.role), &message.parts)?;
                    prompt.control("<|im_end|>")?;
                    prompt.text("\n")?;
                }
                Self::Setokim => {
                    prompt.control(role_control(message.role))?;
                    prompt.parts("", &message.parts)?;
                    if message.role == Role::Assistant {
                        prompt.control(names::END)?;
                    }
                }
            }
        }
        match self {
            Self::ChatMl => {
                prompt.control("<|im_start|>")?;
                prompt.text(role_name(Role::Assistant))?;
            }
            Self::Setokim => prompt.control(role_control(Role::Assistant))?,
        }
        Ok(prompt.pieces)
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system\n",
        Role::User => "user\n",
        Role::Assistant => "assistant\n",
    }
}

fn role_control(role: Role) -> &'static str {
    match role {
        Role::System => names::SYSTEM,
        Role::User => names::USER,
        Role::Assistant => names::ASSISTANT,
    }
}

/// A prompt being written.
struct Prompt<'a> {
    tokenizer: &'a Tokenizer,
    pieces: Vec<PromptPiece>,
    images: usize,
}

impl Prompt<'_> {
    fn control(&mut self, name: &str) -> Result<()> {
        self.ids(&[self.tokenizer.control(name)?]);
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<()> {
        self.ids(&self.tokenizer.encode(text)?);
        Ok(())
    }

    /// `before` and the text after it are encoded as one, as they are in training.
    fn parts(&mut self, before: &str, parts: &[Part]) -> Result<()> {
        let mut text = before.to_owned();
        for part in parts {
            match part {
                Part::Text(more) => text += more,
                Part::Image => {
                    self.text(&std::mem::take(&mut text))?;
                    self.control(names::IMAGE)?;
                    self.pieces.push(PromptPiece::Image(self.images));
                    self.images += 1;
                    self.control(names::IMAGE_END)?;
                }
            }
        }
        self.text(&text)
    }

    fn ids(&mut self, ids: &[u32]) {
        if let Some(PromptPiece::Ids(last)) = self.pieces.last_mut() {
            last.extend_from_slice(ids);
        } else if !ids.is_empty() {
            self.pieces.push(PromptPiece::Ids(ids.to_vec()));
        }
    }
}
