//! `edit`: an image and an instruction -> an image.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use setokim::model::answer::AnswerOptions;
use setokim::model::events::Usage;
use setokim::model::rendering::{GeneratedImage, GeneratedToken};

use crate::answer::{self, DiffusionArgs};
use crate::{ModelArgs, write_json};

#[derive(Args)]
pub struct EditArgs {
    image: PathBuf,
    /// What to change, such as "make the ball blue".
    instruction: String,
    #[arg(short, long, value_name = "OUT.png")]
    output: PathBuf,
    /// Write which pixels each visual token drew, a colour a token.
    #[arg(long, value_name = "MASK.png")]
    tokens: Option<PathBuf>,
    /// Draw every token anew, as in the paper, in place of copying those that stay.
    #[arg(long)]
    no_copy_tokens: bool,
    /// Paint the whole image, in place of taking the pixels of what stays from the source.
    #[arg(long)]
    no_composite: bool,
    /// Do not take words for an answer: give an image in any case.
    #[arg(long)]
    required: bool,
    /// Write the answer as JSON to a file, or to standard output for `-`.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    #[command(flatten)]
    diffusion: DiffusionArgs,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Serialize)]
struct Report {
    instruction: String,
    /// Of the new image, in order.
    tokens: Vec<GeneratedToken>,
    /// Of the source image, by their number in `setokim tokenize`.
    removed: Vec<usize>,
    text: String,
    usage: Usage,
}

pub fn edit(args: &EditArgs) -> Result<()> {
    let model = answer::load(&args.model)?;
    let encoded = answer::encode_image(&model, &args.image)?;
    let options = AnswerOptions {
        copy_tokens: !args.no_copy_tokens,
        composite: !args.no_composite,
        required: args.required,
        ..args.diffusion.options()
    };
    let edit = pollster::block_on(model.edit(&encoded, &args.instruction, &options))?;
    if let Some(generated) = &edit.image {
        answer::write_generated(&args.output, args.tokens.as_deref(), generated)?;
    }
    if let Some(target) = &args.json {
        let generated = edit.image.as_ref();
        let report = Report {
            instruction: args.instruction.clone(),
            tokens: generated.map_or_else(Vec::new, |generated| generated.tokens.clone()),
            removed: generated.map_or_else(Vec::new, |generated| generated.removed.clone()),
            text: edit.text,
            usage: edit.usage,
        };
        return write_json(target, &report);
    }
    match &edit.image {
        Some(generated) => print_changes(generated, &args.output),
        None => println!("no picture: {}", edit.text),
    }
    answer::report(&edit.usage);
    Ok(())
}

fn print_changes(generated: &GeneratedImage, target: &std::path::Path) {
    let copied = generated.tokens.iter().filter(|token| token.copied.is_some()).count();
    let removed: Vec<String> = generated.removed.iter().map(ToString::to_string).collect();
    let removed = if removed.is_empty() { "none".into() } else { removed.join(", ") };
    let new = generated.tokens.len() - copied;
    println!("{copied} tokens copied, {new} new, removed: {removed} -> {}", target.display());
}
