//! What a request gives, as it happens and at its end.

use serde::Serialize;

use crate::model::decode::Finish;
use crate::model::mask_head::Segmentation;
use crate::model::rendering::GeneratedImage;

/// Something that happened while an answer was made.
#[derive(Debug, Clone)]
pub enum Event {
    /// More text, always whole characters.
    Text(String),
    /// A visual token of the image being made is known.
    VisualToken {
        /// Its number in the image, from 0.
        index: usize,
        /// The number of the source image's token that it copies, by its report; none where it is new.
        copied: Option<usize>,
    },
    /// A mask in the image last shown.
    Mask(Segmentation),
    /// A generated image.
    Image(GeneratedImage),
    /// The end of the answer; nothing follows.
    Done(Usage),
}

/// What an answer took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Positions of the prompt.
    pub prompt_tokens: usize,
    /// How many of them were still known from the last request.
    pub cached_tokens: usize,
    /// Tokens of the answer; visual ones are counted again below.
    pub answer_tokens: usize,
    /// Visual tokens of the answer.
    pub visual_tokens: usize,
    /// Why the answer ended.
    pub finish: Finish,
    /// What took how long.
    pub seconds: Seconds,
}

/// Seconds per stage. A GPU works while the program goes on, so there the wait shows in the next stage that reads
/// something back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Seconds {
    /// Reading the prompt.
    pub prefill: f64,
    /// Choosing words and reading them.
    pub decode: f64,
    /// Hidden states to visual tokens.
    pub denoise: f64,
    /// Masks.
    pub mask: f64,
    /// Visual tokens to pixels.
    pub render: f64,
}

/// A part of an answer, in order.
#[derive(Debug, Clone)]
pub enum AnswerPart {
    /// Text.
    Text(String),
    /// A mask in the last image before it.
    Mask(Segmentation),
    /// A generated image.
    Image(GeneratedImage),
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What it consists of, in order.
    pub parts: Vec<AnswerPart>,
    /// What it took.
    pub usage: Usage,
}

impl Answer {
    /// All text of it.
    pub fn text(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match part {
            AnswerPart::Text(text) => Some(text.as_str()),
            AnswerPart::Mask(_) | AnswerPart::Image(_) => None,
        });
        texts.collect()
    }

    /// All masks of it, in order.
    pub fn masks(&self) -> impl Iterator<Item = &Segmentation> {
        self.parts.iter().filter_map(|part| match part {
            AnswerPart::Mask(mask) => Some(mask),
            AnswerPart::Text(_) | AnswerPart::Image(_) => None,
        })
    }

    /// All generated images of it, in order.
    pub fn images(&self) -> impl Iterator<Item = &GeneratedImage> {
        self.parts.iter().filter_map(|part| match part {
            AnswerPart::Image(generated) => Some(generated),
            AnswerPart::Text(_) | AnswerPart::Mask(_) => None,
        })
    }
}
