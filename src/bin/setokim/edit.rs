//! `edit`: a picture and an instruction -> a picture.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use setokim::drawing::{Drawing, DrawnToken};
use setokim::event::Usage;
use setokim::generate::AnswerOptions;

use crate::answer::{self, DrawArgs, NEVER, ignore};
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
    no_pointers: bool,
    /// Paint the whole picture, in place of taking the pixels of what stays from the source.
    #[arg(long)]
    no_paste: bool,
    /// Do not take words for an answer: give a picture in any case.
    #[arg(long)]
    insist: bool,
    /// Write the answer as JSON to a file, or to standard output for `-`.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    #[command(flatten)]
    draw: DrawArgs,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Serialize)]
struct Report {
    instruction: String,
    /// Of the new picture, in order.
    tokens: Vec<DrawnToken>,
    /// Of the source picture, by their number in `setokim tokenize`.
    removed: Vec<usize>,
    said: String,
    usage: Usage,
}

pub fn edit(args: &EditArgs) -> Result<()> {
    let model = answer::load(&args.model)?;
    let seen = answer::see(&model, &args.image)?;
    let options = AnswerOptions {
        pointers: !args.no_pointers,
        paste: !args.no_paste,
        insist: args.insist,
        ..args.draw.options()
    };
    let edit = pollster::block_on(model.edit(&seen, &args.instruction, &options, &NEVER, ignore))?;
    if let Some(drawing) = &edit.drawing {
        answer::write_drawing(&args.output, args.tokens.as_deref(), drawing)?;
    }
    if let Some(target) = &args.json {
        let drawing = edit.drawing.as_ref();
        let report = Report {
            instruction: args.instruction.clone(),
            tokens: drawing.map_or_else(Vec::new, |drawing| drawing.tokens.clone()),
            removed: drawing.map_or_else(Vec::new, |drawing| drawing.removed.clone()),
            said: edit.said,
            usage: edit.usage,
        };
        return write_json(target, &report);
    }
    match &edit.drawing {
        Some(drawing) => print_changes(drawing, &args.output),
        None => println!("no picture: {}", edit.said),
    }
    answer::report(&edit.usage);
    Ok(())
}

fn print_changes(drawing: &Drawing, target: &std::path::Path) {
    let kept = drawing.tokens.iter().filter(|token| token.kept.is_some()).count();
    let removed: Vec<String> = drawing.removed.iter().map(ToString::to_string).collect();
    let removed = if removed.is_empty() { "none".into() } else { removed.join(", ") };
    let new = drawing.tokens.len() - kept;
    println!("{kept} tokens kept, {new} drawn, removed: {removed} -> {}", target.display());
}
