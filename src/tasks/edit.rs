//! Editing: an image and an instruction -> the image changed as little as the instruction allows.

use std::sync::Arc;

use super::photo_edit::PhotoEdit;
use super::{Generated, check_text};
use crate::Result;
use crate::image::edit::EditedImage;
use crate::image::soft_mask::SoftMask;
use crate::model::answer::AnswerOptions;
use crate::model::answering::{Answering, Events};
use crate::model::config::PromptsConfig;
use crate::model::encoded_image::EncodedImage;
use crate::model::events::{Event, Usage};
use crate::model::language::{Message, Part};
use crate::model::rendering::GeneratedImage;
use crate::model::setokim::Setokim;
use crate::text::Role;

impl Setokim {
    /// Changes an image. [`AnswerOptions::copy_tokens`] lets it copy tokens that stay, [`AnswerOptions::composite`] takes
    /// their pixels from the source.
    ///
    /// A model that finds but does not draw changes the pixels of what it finds, see [`PhotoEdit`].
    ///
    /// # Errors
    /// As [`Setokim::generate`]; of a model that does not draw as [`Setokim::segment`], [`PhotoEdit::parse`] and
    /// [`PhotoEdit::apply`].
    pub fn edit(
        &self,
        encoded: &Arc<EncodedImage>,
        instruction: &str,
        options: &AnswerOptions,
    ) -> Answering<impl Future<Output = Result<Generated>>> {
        Answering::new(async move |events| {
            let instruction = check_text("instruction", instruction)?;
            if self.edits_photos() {
                return self.edit_photo(encoded, instruction, options, events).await;
            }
            let words = PromptsConfig::fill(&self.config().prompts.edit, instruction);
            let parts = vec![Part::Image(encoded.clone()), Part::Text(words)];
            self.generate_image(Message { role: Role::User, parts }, options, events).await
        })
    }

    /// Finds what the instruction names and changes its pixels.
    async fn edit_photo(
        &self,
        encoded: &Arc<EncodedImage>,
        instruction: &str,
        options: &AnswerOptions,
        events: Events,
    ) -> Result<Generated> {
        let edit = PhotoEdit::parse(instruction)?;
        let image = &encoded.image;
        let (mask, text, usage) = match edit.phrase() {
            None => (Some(SoftMask::whole(image.width(), image.height())), String::new(), Usage::default()),
            Some(phrase) => self.find_soft(encoded, phrase, options, &events).await?,
        };
        let edited = mask.map(|mask| edit.apply(image, &mask)).transpose()?;
        let image = edited.map(|edited| image_without_tokens(edited, encoded));
        if let Some(image) = &image {
            events.send(Event::Image(image.clone())).await;
        }
        events.send(Event::Done(usage)).await;
        Ok(Generated { image, text, usage })
    }

    /// The mask of a phrase with its rim, or words in its place. Passes on what happens but for the end: the image is to come.
    async fn find_soft(
        &self,
        encoded: &Arc<EncodedImage>,
        phrase: &str,
        options: &AnswerOptions,
        events: &Events,
    ) -> Result<(Option<SoftMask>, String, Usage)> {
        let mut finding = self.segment(encoded, phrase, options);
        while let Some(event) = finding.next().await {
            if !matches!(event, Event::Done(_)) {
                events.send(event).await;
            }
        }
        let found = finding.await?;
        let mask = found.mask.map(|found| SoftMask::from_mask(&found.mask));
        let text = match &mask {
            None if found.text.is_empty() => format!("nothing here matches \"{phrase}\""),
            _ => found.text,
        };
        Ok((mask, text, found.usage))
    }
}

fn image_without_tokens(EditedImage { image, alpha }: EditedImage, encoded: &EncodedImage) -> GeneratedImage {
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
