//! `generate`: a prompt -> an image.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use setokim::model::answer::AnswerOptions;

use crate::ModelArgs;
use crate::answer::{self, DiffusionArgs};

#[derive(Args)]
pub struct GenerateArgs {
    /// What to draw, such as "a red ball and a dog on grass".
    prompt: String,
    #[arg(short, long, value_name = "OUT.png")]
    output: PathBuf,
    /// Write which pixels each visual token drew, a colour a token.
    #[arg(long, value_name = "MASK.png")]
    tokens: Option<PathBuf>,
    /// Do not take words for an answer: give an image in any case.
    #[arg(long)]
    required: bool,
    #[command(flatten)]
    diffusion: DiffusionArgs,
    #[command(flatten)]
    model: ModelArgs,
}

pub fn generate(args: &GenerateArgs) -> Result<()> {
    let model = answer::load(&args.model)?;
    let options = AnswerOptions { required: args.required, ..args.diffusion.options() };
    let made = pollster::block_on(model.generate(&args.prompt, &options))?;
    match &made.image {
        Some(generated) => {
            answer::write_generated(&args.output, args.tokens.as_deref(), generated)?;
            println!("{} tokens -> {}", generated.tokens.len(), args.output.display());
        }
        None => println!("no picture: {}", made.text),
    }
    answer::report(&made.usage);
    Ok(())
}
