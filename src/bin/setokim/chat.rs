//! `chat`: text and images in, streamed text out.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use setokim::image::png_from_image;
use setokim::model::answer::AnswerOptions;
use setokim::model::encoded_image::EncodedImage;
use setokim::model::events::{Answer, Event};
use setokim::model::sampler::Sampling;
use setokim::model::setokim::Setokim;
use setokim::text::{Message, Part, Role};

use crate::ModelArgs;
use crate::answer::{self, DiffusionArgs, NEVER};

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
    images: Vec<EncodedImage>,
    saved: usize,
}

pub fn chat(args: &ChatArgs) -> Result<()> {
    let model = answer::load(&args.model)?;
    let options = args.diffusion.options();
    let sampling =
        Sampling { temperature: args.temperature, seed: options.diffusion.seed, ..AnswerOptions::default().sampling };
    let options = AnswerOptions { max_tokens: args.max_tokens, sampling, ..options };
    let mut chat =
        Chat { model: &model, options, save: args.save.as_deref(), messages: Vec::new(), images: Vec::new(), saved: 0 };
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
        let before = (self.messages.len(), self.images.len());
        let result = self.try_turn(text, images);
        if result.is_err() {
            self.messages.truncate(before.0);
            self.images.truncate(before.1);
        }
        result
    }

    fn try_turn(&mut self, text: &str, images: &[PathBuf]) -> Result<()> {
        for path in images {
            self.images.push(answer::encode_image(self.model, path)?);
        }
        self.messages.push(Message { role: Role::User, parts: parts(text, images.len()) });
        let answer = self.answer()?;
        self.save(&answer)?;
        self.messages.push(answer.to_message());
        self.images.extend(answer.images().map(setokim::model::rendering::GeneratedImage::to_encoded));
        Ok(())
    }

    fn answer(&self) -> Result<Answer> {
        let mut stdout = std::io::stdout().lock();
        let mut written = Ok(());
        let show = async |event: Event| {
            if let Event::Text(text) = event
                && written.is_ok()
            {
                written = write!(stdout, "{text}").and_then(|()| stdout.flush());
            }
        };
        let images: Vec<&EncodedImage> = self.images.iter().collect();
        let answer = pollster::block_on(self.model.chat(&self.messages, &images, &self.options, &NEVER, show))?;
        written.and_then(|()| writeln!(stdout)).context("standard output")?;
        answer::report(&answer.usage);
        Ok(answer)
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

/// Text and the places of its images: where it says so, or in front.
fn parts(text: &str, images: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    if !text.contains(PLACE) {
        parts.extend((0..images).map(|_| Part::Image));
    }
    for (i, piece) in text.split(PLACE).enumerate() {
        if i > 0 {
            parts.push(Part::Image);
        }
        if !piece.is_empty() || text.is_empty() {
            parts.push(Part::Text(piece.into())); // no words at all are for the model to refuse
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Part {
        Part::Text(text.into())
    }

    #[test]
    fn pictures_stand_where_the_text_says_or_in_front() {
        assert_eq!(parts("what ?", 2), [Part::Image, Part::Image, text("what ?")]);
        assert_eq!(parts("", 1), [Part::Image, text("")]);
        assert_eq!(
            parts("is <image> in <image> ?", 2),
            [text("is "), Part::Image, text(" in "), Part::Image, text(" ?")]
        );
        assert_eq!(parts("<image>", 0), [Part::Image], "mentioned but absent: the model will say so");
    }
}
