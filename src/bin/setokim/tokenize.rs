//! `tokenize`, `reconstruct` and `features`: what an image is made of.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use setokim::formats::safetensors::write_safetensors_f32;
use setokim::image::Image;
use setokim::image::masks::LabelMap;
use setokim::image::overlay::{OverlayStyle, overlay};
use setokim::image::png_from_image;
use setokim::model::setokim::TokenReport;
use setokim::{TokenName, TokenNames};

use crate::answer::UNFAMILIAR;
use crate::{ModelArgs, read_file, write_file, write_json};

#[derive(Args)]
pub struct TokenizeArgs {
    image: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// Write the tokens as JSON to a file, or to standard output for `-`.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Write the image with its tokens coloured over it.
    #[arg(long, value_name = "OUT.png")]
    overlay: Option<PathBuf>,
}

#[derive(Args)]
pub struct ReconstructArgs {
    image: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    #[arg(short, long, value_name = "OUT.png")]
    output: PathBuf,
}

#[derive(Args)]
pub struct FeaturesArgs {
    image: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    #[arg(short, long, value_name = "OUT.safetensors")]
    output: PathBuf,
}

#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    tokens: &'a TokenReport,
    /// In the order of the tokens; null for a model that cannot name them.
    names: Option<Vec<TokenName>>,
    /// Null for a model that cannot tell.
    unfamiliar: Option<bool>,
}

pub fn tokenize(args: &TokenizeArgs) -> Result<()> {
    let image = Image::decode(&read_file(&args.image)?)?;
    let model = args.model.load()?;
    let visual = pollster::block_on(model.tokenize(&image))?;
    let report = &visual.report;
    if let Some(target) = &args.overlay {
        let map = LabelMap::new(&report.labels, report.grid, &report.crop, image.width(), image.height())?;
        write_file(target, &png_from_image(&overlay(&image, &map, OverlayStyle::default())?)?)?;
    }
    let names = pollster::block_on(model.name_tokens(&visual))?;
    if let Some(target) = &args.json {
        let unfamiliar = names.as_ref().and_then(|names| names.unfamiliar);
        return write_json(target, &Report { tokens: report, names: names.map(|names| names.names), unfamiliar });
    }
    print_tokens(report, names.as_ref());
    eprintln!("device: {}", model.device().report.reason);
    Ok(())
}

/// One line per token, largest first.
fn print_tokens(report: &TokenReport, names: Option<&TokenNames>) {
    let patches = report.labels.len();
    println!("{} tokens for {patches} patches", report.tokens.len());
    let mut tokens: Vec<_> = report.tokens.iter().collect();
    tokens.sort_by_key(|token| (std::cmp::Reverse(token.patches), token.id));
    for token in tokens {
        let share = 100.0 * token.patches as f64 / patches as f64;
        let [row, column] = token.center;
        let name = names.and_then(|names| names.names.get(token.id)).map_or(String::new(), say);
        println!("{:4}  {share:5.1} %  row {row:2}, column {column:2}  score {:.3}  {name}", token.id, token.score);
    }
    if names.is_some_and(|names| names.unfamiliar == Some(true)) {
        println!("{UNFAMILIAR}");
    }
}

fn say(name: &TokenName) -> String {
    let color = name.color.as_ref().map_or(String::new(), |color| format!("{color} "));
    format!("{color}{} ({:.0} %)", name.name, 100.0 * name.confidence)
}

pub fn reconstruct(args: &ReconstructArgs) -> Result<()> {
    let image = Image::decode(&read_file(&args.image)?)?;
    let model = args.model.load()?;
    let (again, visual) = pollster::block_on(model.reconstruct(&image))?;
    write_file(&args.output, &png_from_image(&again)?)?;
    println!("{} tokens -> {}", visual.report.tokens.len(), args.output.display());
    Ok(())
}

pub fn features(args: &FeaturesArgs) -> Result<()> {
    let image = Image::decode(&read_file(&args.image)?)?;
    let model = args.model.load()?;
    let (shape, values) = pollster::block_on(model.features(&image))?;
    write_file(&args.output, &write_safetensors_f32("features", &shape, &values)?)?;
    println!("features {shape:?} -> {}", args.output.display());
    Ok(())
}
