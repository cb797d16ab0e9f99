//! `chat`: text and images in, streamed text out.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use setokim::image::png_from_image;
use setokim::model::answer::AnswerOptions;
use setokim::model::encoded_image::EncodedImage;
use setokim::model::events::Answer;
use setokim::model::sampler::Sampling;
use setokim::model::setokim::Setokim;
use setokim::text::Role;
use setokim::{Message, Part};

use crate::ModelArgs;
use crate::answer::{self, DiffusionArgs};

/// Where an image stands in a text.
const PLACE: &str = "<image>";

#[derive(Args)]
pub struct ChatArgs {
    /// What to say; `<image>` says where each image stands. Without it images come first.
    #[arg(required_unless_present = "interactive")]
    text: Option<String>,
    /// An image to talk about; may be given several times.
    #[arg(long, value_name = "FILE")]
    image: Vec<PathBuf>,
    /// Go on talking: a line of standard input is a turn, `/image FILE` adds an image to the next one.
    #[arg(long)]
    interactive: bool,
    /// Tokens of an answer at the most.
    #[arg(short = 'n', long, default_value_t = AnswerOptions::default().max_tokens)]
    max_tokens: usize,
    /// 0 always takes the best word; 1 draws as the model says.
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Save images and masks of the answers in this folder, as image-1.png, mask-2.png, ...
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    #[command(flatten)]
    diffusion: DiffusionArgs,
    #[command(flatten)]
    model: ModelArgs,
}

/// The chat so far.
struct Chat<'a> {
    model: &'a Setokim,
    options: AnswerOptions,
    save: Option<&'a Path>,
    messages: Vec<Message>,
    saved: usize,
}

pub fn chat(args: &ChatArgs) -> Result<()> {
    let model = answer::load(&args.model)?;
    let options = args.diffusion.options();
    let sampling =
        Sampling { temperature: args.temperature, seed: options.diffusion.seed, ..AnswerOptions::default().sampling };
    let options = AnswerOptions { max_tokens: args.max_tokens, sampling, ..options };
    let mut chat = Chat { model: &model, options, save: args.save.as_deref(), messages: Vec::new(), saved: 0 };
    let mut waiting = args.image.clone();
    if let Some(text) = &args.text {
        chat.turn(text, &std::mem::take(&mut waiting))?;
    }
    if args.interactive {
        chat.interact(waiting)?;
    }
    Ok(())
}

impl Chat<'_> {
    fn interact(&mut self, mut waiting: Vec<PathBuf>) -> Result<()> {
        let prompts = std::io::stdin().is_terminal();
        loop {
            if prompts {
                eprint!("> ");
            }
            let mut line = String::new();
            if std::io::stdin().lock().read_line(&mut line).context("standard input")? == 0 {
                return Ok(());
            }
            match line.trim() {
                "" => {}
                "/quit" => return Ok(()),
                line => match line.strip_prefix("/image ") {
                    Some(path) => waiting.push(path.trim().into()),
                    // A bad turn does not end the chat.
                    None => match self.turn(line, &std::mem::take(&mut waiting)) {
                        Ok(()) => {}
                        Err(error) => eprintln!("{}", crate::describe(&error)),
                    },
                },
            }
        }
    }

    /// Says something, prints the answer as it comes, and goes on from there. A turn that fails has not happened.
    fn turn(&mut self, text: &str, images: &[PathBuf]) -> Result<()> {
        let before = self.messages.len();
        let result = self.try_turn(text, images);
        if result.is_err() {
            self.messages.truncate(before);
        }
        result
    }

    fn try_turn(&mut self, text: &str, images: &[PathBuf]) -> Result<()> {
        let images = images.iter().map(|path| answer::encode_image(self.model, path)).collect::<Result<_>>()?;
        self.messages.push(Message { role: Role::User, parts: parts(text, images)? });
        let answer = answer::print(self.model.chat(&self.messages, &self.options))?;
        self.save(&answer)?;
        self.messages.push(answer.to_message());
        Ok(())
    }

    fn save(&mut self, answer: &Answer) -> Result<()> {
        for generated in answer.images() {
            self.save_one("picture", || Ok(png_from_image(&generated.image)?))?;
        }
        for found in answer.masks() {
            self.save_one("mask", || Ok(found.mask.to_png()?))?;
        }
        Ok(())
    }

    fn save_one(&mut self, what: &str, png: impl Fn() -> Result<Vec<u8>>) -> Result<()> {
        self.saved += 1;
        let Some(folder) = self.save else {
            eprintln!("(a {what}: `--save DIR` keeps it)");
            return Ok(());
        };
        let path = folder.join(format!("{what}-{}.png", self.saved));
        crate::write_file(&path, &png()?)?;
        eprintln!("-> {}", path.display());
        Ok(())
    }
}

/// Text and its images: where it says so, or in front.
fn parts(text: &str, images: Vec<Arc<EncodedImage>>) -> Result<Vec<Part>> {
    let (pieces, places) = (text.split(PLACE), text.matches(PLACE).count());
    if places != 0 && places != images.len() {
        let message = format!("it has {places} places for images, and {} are given", images.len());
        return Err(setokim::Error::Prompt(message).into());
    }
    let mut images = images.into_iter().map(Part::Image);
    let mut parts = Vec::new();
    if places == 0 {
        parts.extend(images.by_ref());
    }
    for (i, piece) in pieces.enumerate() {
        if i > 0 {
            parts.extend(images.next());
        }
        if !piece.is_empty() || text.is_empty() {
            parts.push(Part::Text(piece.into())); // no words at all are for the model to refuse
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use setokim::{Crop, Image};

    use super::*;

    fn image() -> Arc<EncodedImage> {
        Arc::new(EncodedImage {
            image: Image::from_rgb(vec![0; 3], 1, 1).unwrap(),
            crop: Crop { x: 0.0, y: 0.0, width: 1.0, height: 1.0 },
            grid: [1, 1],
            labels: vec![0],
            ids: vec![0],
            names: Vec::new(),
            tokens: vec![vec![0.0]],
            maps: None,
            milliseconds: 0.0,
        })
    }

    /// The text of the parts, with a star for an image.
    fn written(text: &str, images: usize) -> Option<Vec<String>> {
        let shown = |part: Part| match part {
            Part::Text(text) => text,
            Part::Image(_) | Part::Mask => "*".into(),
        };
        let parts = parts(text, vec![image(); images]).ok()?;
        Some(parts.into_iter().map(shown).collect())
    }

    #[test]
    fn images_stand_where_the_text_says_or_in_front() {
        assert_eq!(written("what ?", 2).unwrap(), ["*", "*", "what ?"]);
        assert_eq!(written("", 1).unwrap(), ["*", ""]);
        assert_eq!(written("is <image> in <image> ?", 2).unwrap(), ["is ", "*", " in ", "*", " ?"]);
        assert_eq!(written("<image>", 0), None, "mentioned but absent");
        assert_eq!(written("<image>", 2), None, "one has no place");
    }
}
