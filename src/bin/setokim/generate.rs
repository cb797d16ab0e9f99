//! `generate`: a prompt -> a picture.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::ModelArgs;
use crate::answer::{self, DrawArgs, NEVER, ignore};

#[derive(Args)]
pub struct GenerateArgs {
    /// What to draw, such as "a red ball and a dog on grass".
    prompt: String,
    #[arg(short, long, value_name = "OUT.png")]
    output: PathBuf,
    /// Write which pixels each visual token drew, a colour a token.
    #[arg(long, value_name = "MASK.png")]
    tokens: Option<PathBuf>,
    #[command(flatten)]
    draw: DrawArgs,
    #[command(flatten)]
    model: ModelArgs,
}

pub fn generate(args: &GenerateArgs) -> Result<()> {
    let model = answer::load(&args.model)?;
    let made = pollster::block_on(model.generate(&args.prompt, &args.draw.options(), &NEVER, ignore))?;
    answer::write_picture(&args.output, &made.drawing.picture)?;
    if let Some(target) = &args.tokens {
        answer::write_token_mask(target, &made.drawing)?;
    }
    println!("{} tokens -> {}", made.drawing.tokens.len(), args.output.display());
    answer::report(&made.usage);
    Ok(())
}
