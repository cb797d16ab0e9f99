//! `generate`: a prompt -> a picture.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use setokim::generate::AnswerOptions;

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
    /// Do not take words for an answer: give a picture in any case.
    #[arg(long)]
    insist: bool,
    #[command(flatten)]
    draw: DrawArgs,
    #[command(flatten)]
    model: ModelArgs,
}

pub fn generate(args: &GenerateArgs) -> Result<()> {
    let model = answer::load(&args.model)?;
    let options = AnswerOptions { insist: args.insist, ..args.draw.options() };
    let made = pollster::block_on(model.generate(&args.prompt, &options, &NEVER, ignore))?;
    match &made.drawing {
        Some(drawing) => {
            answer::write_drawing(&args.output, args.tokens.as_deref(), drawing)?;
            println!("{} tokens -> {}", drawing.tokens.len(), args.output.display());
        }
        None => println!("no picture: {}", made.said),
    }
    answer::report(&made.usage);
    Ok(())
}
