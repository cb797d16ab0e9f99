//! What `chat`, `describe`, `segment`, `generate` and `edit` share.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use setokim::image::Image;
use setokim::image::edit::png_with_alpha;
use setokim::image::overlay::{OverlayStyle, overlay};
use setokim::image::png_from_image;
use setokim::model::answer::AnswerOptions;
use setokim::model::answering::Answering;
use setokim::model::diffusion::DiffusionOptions;
use setokim::model::encoded_image::EncodedImage;
use setokim::model::events::{Answer, Event, Usage};
use setokim::model::rendering::GeneratedImage;
use setokim::model::setokim::Setokim;

use crate::{ModelArgs, read_file, write_file};

/// How visual tokens are drawn.
#[derive(Args)]
pub struct DiffusionArgs {
    /// The same seed draws the same image.
    #[arg(long, default_value_t = DiffusionOptions::default().seed, allow_negative_numbers = true)]
    seed: u64,
    /// Denoising steps a token.
    #[arg(long, default_value_t = DiffusionOptions::default().steps)]
    steps: usize,
    /// Above 1 follows the words more than the model would.
    #[arg(long, default_value_t = DiffusionOptions::default().guidance)]
    guidance: f32,
    /// Scale of the noise that tokens are drawn from.
    #[arg(long, default_value_t = DiffusionOptions::default().temperature)]
    diffusion_temperature: f32,
}

impl DiffusionArgs {
    pub fn options(&self) -> AnswerOptions {
        let Self { seed, steps, guidance, diffusion_temperature: temperature } = *self;
        AnswerOptions { diffusion: DiffusionOptions { steps, guidance, temperature, seed }, ..AnswerOptions::default() }
    }
}

/// Loads the model, and fails before it reads any image if it cannot talk.
pub fn load(args: &ModelArgs) -> Result<Setokim> {
    let model = args.load()?;
    model.language()?;
    Ok(model)
}

pub fn encode_image(model: &Setokim, image: &Path) -> Result<Arc<EncodedImage>> {
    Ok(pollster::block_on(model.encode_image(&Image::decode(&read_file(image)?)?))?)
}

/// What is said of an image that a model was not trained for.
pub const UNFAMILIAR: &str = "this image looks unlike those that the model was trained on: expect mistakes";

/// Whether an image is unlike those that the model was trained on, which is also said on standard error; none for a model
/// that cannot tell.
pub fn is_unfamiliar(model: &Setokim, encoded: &EncodedImage) -> Result<Option<bool>> {
    if model.config().familiarity.is_none() {
        return Ok(None); // without looking at the image a second time
    }
    let visual = pollster::block_on(model.tokenize(&encoded.image))?;
    let unfamiliar = pollster::block_on(model.name_tokens(&visual))?.and_then(|names| names.unfamiliar);
    if unfamiliar == Some(true) {
        eprintln!("{UNFAMILIAR}");
    }
    Ok(unfamiliar)
}

/// Prints the text of an answer as it comes, then what it took.
pub fn print(mut answering: Answering<impl Future<Output = setokim::Result<Answer>>>) -> Result<Answer> {
    let mut stdout = std::io::stdout().lock();
    let mut written = Ok(());
    let answer = pollster::block_on(async {
        while let Some(event) = answering.next().await {
            if let Event::Text(text) = event
                && written.is_ok()
            {
                written = write!(stdout, "{text}").and_then(|()| stdout.flush());
            }
        }
        answering.await
    })?;
    written.and_then(|()| writeln!(stdout)).context("standard output")?;
    report(&answer.usage);
    Ok(answer)
}

pub fn write_image(target: &Path, image: &Image) -> Result<()> {
    write_file(target, &png_from_image(image)?)
}

/// The image, and into `tokens` each pixel in the colour of the token that drew it.
pub fn write_generated(target: &Path, tokens: Option<&Path>, generated: &GeneratedImage) -> Result<()> {
    write_file(target, &png_with_alpha(&generated.image, generated.alpha.as_ref())?)?;
    let Some(tokens) = tokens else { return Ok(()) };
    let style = OverlayStyle { opacity: 1.0, border: 0 };
    write_image(tokens, &overlay(&generated.image, &generated.label_map()?, style)?)
}

/// One line on standard error.
pub fn report(usage: &Usage) {
    let seconds = &usage.seconds;
    let total = seconds.prefill + seconds.decode + seconds.denoise + seconds.mask + seconds.render;
    eprintln!(
        "{} tokens read ({} cached), {} made ({} visual) in {total:.1} s",
        usage.prompt_tokens, usage.cached_tokens, usage.answer_tokens, usage.visual_tokens
    );
}
