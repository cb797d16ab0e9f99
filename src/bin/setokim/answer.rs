//! What `chat`, `segment`, `generate` and `edit` share.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use clap::Args;
use setokim::diffusion::DrawOptions;
use setokim::drawing::Drawing;
use setokim::event::{Event, Usage};
use setokim::generate::AnswerOptions;
use setokim::postprocess::{OverlayStyle, overlay, png_from_picture};
use setokim::preprocess::Picture;
use setokim::seen::Seen;
use setokim::setokim::Setokim;

use crate::{ModelArgs, read_file, write_file};

/// Nobody presses a button here: Ctrl-C ends the program.
pub static NEVER: AtomicBool = AtomicBool::new(false);

/// How visual tokens are drawn.
#[derive(Args)]
pub struct DrawArgs {
    /// The same seed draws the same picture.
    #[arg(long, default_value_t = DrawOptions::default().seed)]
    seed: u64,
    /// Denoising steps a token.
    #[arg(long, default_value_t = DrawOptions::default().steps)]
    steps: usize,
    /// Above 1 follows the words more than the model would.
    #[arg(long, default_value_t = DrawOptions::default().guidance)]
    guidance: f32,
    /// Scale of the noise that tokens are drawn from.
    #[arg(long, default_value_t = DrawOptions::default().temperature)]
    noise: f32,
}

impl DrawArgs {
    pub fn options(&self) -> AnswerOptions {
        let Self { seed, steps, guidance, noise } = *self;
        AnswerOptions { draw: DrawOptions { steps, guidance, temperature: noise, seed }, ..AnswerOptions::default() }
    }
}

/// Loads the model, and fails before it reads any picture if it cannot talk.
pub fn load(args: &ModelArgs) -> Result<Setokim> {
    let model = args.load()?;
    model.language()?;
    Ok(model)
}

pub fn see(model: &Setokim, image: &Path) -> Result<Seen> {
    Ok(pollster::block_on(model.see(&Picture::decode(&read_file(image)?)?))?)
}

pub async fn ignore(_: Event) {}

pub fn write_picture(target: &Path, picture: &Picture) -> Result<()> {
    write_file(target, &png_from_picture(picture)?)
}

/// The picture, and into `tokens` each pixel in the colour of the token that drew it.
pub fn write_drawing(target: &Path, tokens: Option<&Path>, drawing: &Drawing) -> Result<()> {
    write_picture(target, &drawing.picture)?;
    let Some(tokens) = tokens else { return Ok(()) };
    let style = OverlayStyle { opacity: 1.0, border: 0 };
    write_picture(tokens, &overlay(&drawing.picture, &drawing.label_map()?, style)?)
}

/// One line on standard error.
pub fn report(usage: &Usage) {
    let seconds = &usage.seconds;
    let total = seconds.prefill + seconds.decode + seconds.draw + seconds.mask + seconds.paint;
    eprintln!(
        "{} tokens read ({} remembered), {} made ({} visual) in {total:.1} s",
        usage.prompt_tokens, usage.remembered_tokens, usage.answer_tokens, usage.visual_tokens
    );
}
