//! `segment`: a phrase -> a mask.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use setokim::image::Image;
use setokim::image::masks::{Mask, Rle};
use setokim::image::overlay::OverlayStyle;
use setokim::image::palette::palette;
use setokim::model::answer::AnswerOptions;
use setokim::model::events::Usage;
use setokim::model::mask_head::{CoveredToken, Segmentation};

use crate::answer;
use crate::{ModelArgs, write_file, write_json};

#[derive(Args)]
pub struct SegmentArgs {
    image: PathBuf,
    /// What to find, such as "the red ball".
    phrase: String,
    /// The mask at the image's own size: white where it matches. Not written when nothing does.
    #[arg(short, long, value_name = "MASK.png")]
    output: PathBuf,
    /// Write the image with the mask coloured over it.
    #[arg(long, value_name = "OUT.png")]
    overlay: Option<PathBuf>,
    /// Do not take words for an answer: give a mask in any case.
    #[arg(long)]
    required: bool,
    /// Write the answer as JSON to a file, or to standard output for `-`.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Serialize)]
struct Report {
    phrase: String,
    matches: bool,
    score: Option<f32>,
    /// Left, top, right and bottom edge of the mask in pixels of the image.
    #[serde(rename = "box")]
    bounds: Option<[u32; 4]>,
    /// Where the model is surest, across and down in pixels of the image.
    point: Option<[f64; 2]>,
    /// Semantic tokens of which at least half lies in the mask.
    tokens: Vec<CoveredToken>,
    mask: Option<Rle>,
    text: String,
    usage: Usage,
}

pub fn segment(args: &SegmentArgs) -> Result<()> {
    let model = answer::load(&args.model)?;
    let encoded = answer::encode_image(&model, &args.image)?;
    let options = AnswerOptions { required: args.required, ..AnswerOptions::default() };
    let segment = pollster::block_on(model.segment(&encoded, &args.phrase, &options))?;
    if let Some(found) = &segment.mask {
        write_file(&args.output, &found.mask.to_png()?)?;
        if let Some(target) = &args.overlay {
            answer::write_image(target, &laid_over(&encoded.image, &found.mask)?)?;
        }
    }
    if let Some(target) = &args.json {
        let found = segment.mask.as_ref();
        let report = Report {
            phrase: args.phrase.clone(),
            matches: found.is_some(),
            score: found.map(|found| found.score),
            bounds: found.and_then(|found| found.mask.bounds()),
            point: found.map(|found| found.point),
            tokens: found.map_or_else(Vec::new, |found| found.tokens.clone()),
            mask: found.map(|found| found.mask.to_rle()),
            text: segment.text,
            usage: segment.usage,
        };
        return write_json(target, &report);
    }
    match &segment.mask {
        Some(found) => print_found(found, &args.output),
        None if segment.text.is_empty() => println!("nothing matches"),
        None => println!("nothing matches: {}", segment.text),
    }
    answer::report(&segment.usage);
    Ok(())
}

fn print_found(found: &Segmentation, target: &std::path::Path) {
    let share = 100.0 * found.mask.area() as f64 / found.mask.bits().len() as f64;
    let tokens: Vec<String> = found.tokens.iter().map(|token| token.id.to_string()).collect();
    let tokens = if tokens.is_empty() { "no whole token".into() } else { format!("tokens {}", tokens.join(", ")) };
    println!("{share:.1} % of the picture, score {:.2}, {tokens} -> {}", found.score, target.display());
}

/// The image with the mask in the colour of token 0.
fn laid_over(image: &Image, mask: &Mask) -> Result<Image> {
    let opacity = OverlayStyle::default().opacity;
    let mut rgb = image.rgb().to_vec();
    for (pixel, _) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(mask.bits()).filter(|(_, bit)| **bit) {
        for (value, color) in pixel.iter_mut().zip(palette(0)) {
            *value = (f32::from(*value) * (1.0 - opacity) + f32::from(color) * opacity).round() as u8;
        }
    }
    Ok(Image::from_rgb(rgb, image.width(), image.height())?)
}
