//! `describe`: an image -> a sentence about it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use setokim::model::answer::AnswerOptions;

use crate::{ModelArgs, answer};

#[derive(Args)]
pub struct DescribeArgs {
    image: PathBuf,
    /// Tokens of the answer at the most.
    #[arg(short = 'n', long, default_value_t = AnswerOptions::default().max_tokens)]
    max_tokens: usize,
    #[command(flatten)]
    model: ModelArgs,
}

pub fn describe(args: &DescribeArgs) -> Result<()> {
    let model = answer::load(&args.model)?;
    let encoded = answer::encode_image(&model, &args.image)?;
    let options = AnswerOptions { max_tokens: args.max_tokens, ..AnswerOptions::default() };
    answer::print(model.describe(&encoded, &options))?;
    Ok(())
}
