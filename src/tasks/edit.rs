//! Editing: an image and an instruction -> the image changed as little as the instruction allows.

use std::sync::atomic::AtomicBool;

use super::photo_edit::PhotoEdit;
use super::{Generated, check_text};
use crate::Result;
use crate::image::edit::EditedImage;
use crate::image::soft_mask::SoftMask;
use crate::model::answer::AnswerOptions;
use crate::model::decode::Finish;
use crate::model::encoded_image::EncodedImage;
use crate::model::events::{Event, Seconds, Usage};
use crate::model::rendering::GeneratedImage;
use crate::model::setokim::Setokim;
use crate::text::{Message, Part, Role};

impl Setokim {
    /// Changes an image. [`AnswerOptions::copy_tokens`] lets it copy tokens that stay, [`AnswerOptions::composite`] takes their
    /// pixels from the source.
    ///
    /// A model that finds but does not draw changes the pixels of what it finds, see [`PhotoEdit`].
    ///
    /// # Errors
    /// As [`Setokim::generate`]; from a model that does not draw as [`PhotoEdit::parse`] and [`PhotoEdit::apply`].
    pub async fn edit(
        &self,
        encoded: &EncodedImage,
        instruction: &str,
        options: &AnswerOptions,
        abort: &AtomicBool,
        on_event: impl AsyncFnMut(Event),
    ) -> Result<Generated> {
        let instruction = check_text("instruction", instruction)?;
        if self.detok().is_none() && self.language()?.mask_head.is_some() {
            return self.edit_photo(encoded, instruction, options, abort, on_event).await;
        }
        let message = Message { role: Role::User, parts: vec![Part::Image, Part::Text(instruction.to_owned())] };
        self.generate_image(message, Some(encoded), options, abort, on_event).await
    }

    /// Finds what the instruction names and changes its pixels.
    async fn edit_photo(
        &self,
        encoded: &EncodedImage,
        instruction: &str,
        options: &AnswerOptions,
        abort: &AtomicBool,
        mut on_event: impl AsyncFnMut(Event),
    ) -> Result<Generated> {
        let edit = PhotoEdit::parse(instruction)?;
        let image = &encoded.image;
        let (mask, text, usage) = match edit.phrase() {
            None => (Some(SoftMask::whole(image.width(), image.height())), String::new(), nothing_asked()),
            Some(phrase) => {
                // The end comes after the image, not after the mask.
                let tell = async |event| {
                    if !matches!(event, Event::Done(_)) {
                        on_event(event).await;
                    }
                };
                let found = self.segment(encoded, phrase, options, abort, tell).await?;
                (found.mask.map(|found| SoftMask::from_mask(&found.mask)), found.text, found.usage)
            }
        };
        let edited = mask.map(|mask| edit.apply(image, &mask)).transpose()?;
        let generated = edited.map(|edited| photo_image(edited, encoded));
        if let Some(generated) = &generated {
            on_event(Event::Image(generated.clone())).await;
        }
        on_event(Event::Done(usage)).await;
        Ok(Generated { image: generated, text, usage })
    }
}

/// Pixels without tokens.
fn photo_image(EditedImage { image, alpha }: EditedImage, encoded: &EncodedImage) -> GeneratedImage {
    GeneratedImage {
        image,
        alpha,
        crop: encoded.crop,
        grid: [0, 0],
        labels: Vec::new(),
        tokens: Vec::new(),
        removed: Vec::new(),
        values: Vec::new(),
    }
}

/// What it takes to change a picture as a whole: the model has nothing to find.
fn nothing_asked() -> Usage {
    Usage {
        prompt_tokens: 0,
        cached_tokens: 0,
        answer_tokens: 0,
        visual_tokens: 0,
        finish: Finish::End,
        seconds: Seconds::default(),
    }
}
