//! `setokim convert`: checkpoints of other programs -> a model folder.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use setokim::convert::{
    LeftOut, Part, Precision, Precisions, Report, ReportRow, SHARD_BYTES, SourceOptions, open_source, write_bundle,
};
use setokim::model::setokim::Setokim;
use setokim::runtime::device::DeviceChoice;

use crate::{DeviceArgs, read_file};

#[derive(Args)]
pub struct ConvertArgs {
    /// What to convert: a checkpoint.pt of training/, a model folder (config.json and safetensors), a folder of the
    /// paper's own code, or, with --language, a Hugging Face SigLIP folder.
    source: PathBuf,
    /// Folder to write: config.json, tokenizer.json, shards, manifest.json. Its old shards are removed.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// The tokenizer.json of the language model, where SOURCE does not hold it.
    #[arg(long, value_name = "FILE", conflicts_with = "language")]
    tokenizer: Option<PathBuf>,
    /// Join the SigLIP tower of SOURCE with this LLaMA: a Hugging Face folder or a GGUF file. What joins them is random.
    #[arg(long, value_name = "PATH")]
    language: Option<PathBuf>,
    /// SOURCE holds the trained parts of a photo model: join them with this EfficientNet-Lite, a PyTorch checkpoint or a
    /// safetensors file, and with the GGUF file of --language, whose weights stay as they are.
    #[arg(long, value_name = "FILE", requires = "language")]
    encoder: Option<PathBuf>,
    /// Of the random parts.
    #[arg(long, default_value_t = 0, requires = "language")]
    seed: u64,
    /// A part of a checkpoint of the paper's own code to do without (llm, detokenizer, diffusion); may be given several
    /// times.
    #[arg(long, value_name = "PART", value_parser = parse_left_out)]
    leave_out: Vec<LeftOut>,
    /// How weights are stored: keep (as in SOURCE), f32, f16, q8 or q4; f16 where nothing is said, and with --encoder keep, its
    /// weights q8. Vectors stay f32, what cannot be packed is f16.
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_precision)]
    precision: Option<Precision>,
    /// Another type for the vision encoder.
    #[arg(long, value_name = "TYPE", value_parser = parse_precision)]
    vision: Option<Precision>,
    /// Another type for the token merger and the name heads.
    #[arg(long, value_name = "TYPE", value_parser = parse_precision)]
    merger: Option<Precision>,
    /// Another type for the detokenizer.
    #[arg(long, value_name = "TYPE", value_parser = parse_precision)]
    detokenizer: Option<Precision>,
    /// Another type for the language model (its embedding has 8 bits at the least).
    #[arg(long, value_name = "TYPE", value_parser = parse_precision)]
    llm: Option<Precision>,
    /// Another type for projector, diffusion head and mask head.
    #[arg(long, value_name = "TYPE", value_parser = parse_precision)]
    rest: Option<Precision>,
    /// Size of a shard at the most; larger tensors are split by rows.
    #[arg(long, value_name = "MIB", default_value_t = SHARD_BYTES >> 20, value_parser = parse_shard)]
    shard_mib: usize,
}

fn parse_precision(text: &str) -> Result<Precision, String> {
    text.parse().map_err(|error: setokim::Error| error.to_string())
}

fn parse_left_out(text: &str) -> Result<LeftOut, String> {
    match text {
        "llm" => Ok(LeftOut::Llm),
        "detokenizer" => Ok(LeftOut::Detokenizer),
        "diffusion" => Ok(LeftOut::Diffusion),
        _ => Err("not one of llm, detokenizer and diffusion".into()),
    }
}

fn parse_shard(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size @ 1..=1024) => Ok(size),
        _ => Err("not a whole number from 1 to 1024".into()),
    }
}

pub fn convert(args: &ConvertArgs) -> Result<()> {
    if args.out.exists() && args.out.canonicalize().ok() == args.source.canonicalize().ok() {
        return Err(setokim::Error::Setting("source and target are the same folder".into()).into());
    }
    let options = SourceOptions {
        tokenizer: args.tokenizer.as_deref().map(read_file).transpose()?,
        language: args.language.clone(),
        encoder: args.encoder.clone(),
        seed: args.seed,
        left_out: args.leave_out.clone(),
    };
    let draft = open_source(&args.source, options)?;
    let report = write_bundle(&draft, &precisions(args), args.shard_mib << 20, &args.out)?;
    // What was written must load, and here is the place to say so.
    let device = DeviceArgs { device: DeviceChoice::Cpu }.open()?;
    Setokim::open(&args.out, device, |_| ())?;
    print(&report);
    draft.notes.iter().for_each(|note| eprintln!("note: {note}"));
    Ok(())
}

fn precisions(args: &ConvertArgs) -> Precisions {
    let given = [args.vision, args.merger, args.detokenizer, args.llm, args.rest];
    let chosen = Part::ALL.into_iter().zip(given).filter_map(|(part, given)| Some((part, given?)));
    let all = match (args.precision, &args.encoder) {
        (Some(precision), _) => Precisions::all(precision),
        (None, Some(_)) => Precisions::all(Precision::Keep).with(Part::Vision, Precision::Q8),
        (None, None) => Precisions::all(Precision::F16),
    };
    chosen.fold(all, |all, (part, precision)| all.with(part, precision))
}

fn print(report: &Report) {
    println!("{:<12} {:>7} {:>14} {:>14}  type", "part", "tensors", "parameters", "bytes");
    let line = |name: &str, tensors: usize, parameters: usize, bytes: usize, types: &str| {
        println!("{name:<12} {tensors:>7} {:>14} {:>14}  {types}", grouped(parameters), grouped(bytes));
    };
    for row in &report.rows {
        line(row.part.name(), row.tensors, row.parameters, row.bytes, &row.types.join(", "));
    }
    let sum = |of: fn(&ReportRow) -> usize| report.rows.iter().map(of).sum();
    let shards = report.manifest.files.iter().filter(|file| file.is_shard()).count();
    let shards = format!("in {shards} {}", if shards == 1 { "shard" } else { "shards" });
    line("all", sum(|row| row.tensors), sum(|row| row.parameters), sum(|row| row.bytes), &shards);
}

/// 1,234,567.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
