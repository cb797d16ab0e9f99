//! The command line: every subcommand is a thin layer over the library.

mod answer;
mod bench;
mod chat;
mod cluster;
mod complete;
#[cfg(feature = "convert")]
mod convert;
mod describe;
mod edit;
mod eval;
mod eval_photos;
mod eval_tasks;
mod generate;
mod growth;
mod segment;
mod tokenize;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use setokim::model::setokim::Setokim;
use setokim::runtime::device::{self, DeviceChoice, OpenDevice};

/// See, talk, segment, generate and edit, on your own machine.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Group the patches of an image into semantic tokens.
    Tokenize(tokenize::TokenizeArgs),
    /// Paint an image again from its semantic tokens alone.
    Reconstruct(tokenize::ReconstructArgs),
    /// Write the encoder's patch features as safetensors (`features`, [N, C]).
    Features(tokenize::FeaturesArgs),
    /// Cluster any [N, C] f32 tensor named `features`.
    Cluster(cluster::ClusterArgs),
    /// Score the model on a pack of scenes whose truth is known.
    Eval(eval::EvalArgs),
    /// Time the kernels, their references and the encoder on this machine's devices.
    Bench(bench::BenchArgs),
    /// Talk, about images too.
    Chat(chat::ChatArgs),
    /// Say what is in an image, with a model that has learned to.
    Describe(describe::DescribeArgs),
    /// Find what a phrase means in an image.
    Segment(segment::SegmentArgs),
    /// Draw what a prompt describes.
    Generate(generate::GenerateArgs),
    /// Change an image as an instruction says.
    Edit(edit::EditArgs),
    /// Continue a prompt as it stands, with a GGUF model.
    Complete(complete::CompleteArgs),
    /// Make a model folder of a checkpoint.
    #[cfg(feature = "convert")]
    Convert(convert::ConvertArgs),
    /// Say which device `auto` takes here, and why.
    Probe,
}

/// Which model, where.
#[derive(Args)]
struct ModelArgs {
    /// Model folder: config.json, manifest.json and shards, or a Hugging Face SigLIP folder.
    #[arg(long, default_value = "models/setokim-tiny", value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Args)]
struct DeviceArgs {
    /// auto (a real GPU, else the CPU), gpu or cpu.
    #[arg(long, default_value = "auto", value_parser = parse_device)]
    device: DeviceChoice,
}

fn parse_device(text: &str) -> Result<DeviceChoice, String> {
    text.parse().map_err(|e: setokim::Error| e.to_string())
}

impl DeviceArgs {
    fn open(&self) -> Result<OpenDevice> {
        Ok(pollster::block_on(device::open(self.device))?)
    }
}

impl ModelArgs {
    fn load(&self) -> Result<Setokim> {
        let mut bar = LateBar::new("loading");
        Ok(Setokim::open(&self.model, self.device.open()?, |progress| bar.at(progress.done, progress.total))?)
    }
}

/// A progress bar that stays away from work that takes less than a second.
struct LateBar {
    start: Instant,
    what: &'static str,
    bar: Option<ProgressBar>,
}

impl LateBar {
    fn new(what: &'static str) -> Self {
        Self { start: Instant::now(), what, bar: None }
    }

    fn at(&mut self, done: u64, total: u64) {
        if self.start.elapsed() < Duration::from_secs(1) {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {eta} left");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style).with_message(self.what)
        });
        bar.set_position(done);
    }
}

impl Drop for LateBar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    Ok(std::fs::read(path).map_err(|e| setokim::Error::io(path, e))?)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(std::fs::write(path, bytes).map_err(|e| setokim::Error::io(path, e))?)
}

/// Writes JSON to a file, or to standard output for `-`.
fn write_json(target: &Path, value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string(value).context("JSON")?;
    if target == Path::new("-") {
        println!("{text}");
        return Ok(());
    }
    write_file(target, text.as_bytes())
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Tokenize(args) => tokenize::tokenize(&args),
        Command::Reconstruct(args) => tokenize::reconstruct(&args),
        Command::Features(args) => tokenize::features(&args),
        Command::Cluster(args) => cluster::cluster(&args),
        Command::Eval(args) => eval::eval(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Chat(args) => chat::chat(&args),
        Command::Describe(args) => describe::describe(&args),
        Command::Segment(args) => segment::segment(&args),
        Command::Generate(args) => generate::generate(&args),
        Command::Edit(args) => edit::edit(&args),
        Command::Complete(args) => complete::complete(&args),
        #[cfg(feature = "convert")]
        Command::Convert(args) => convert::convert(&args),
        Command::Probe => write_json(Path::new("-"), &pollster::block_on(device::probe())),
    }
}

/// One line: what went wrong and what to do about it.
fn describe(error: &anyhow::Error) -> String {
    match error.downcast_ref::<setokim::Error>() {
        Some(known) => format!("error [{}]: {known}. {}", known.code(), known.remedy()),
        None => format!("error: {error:#}"),
    }
}

/// Mesa's Vulkan layer that chooses among GPUs asks Wayland, whose library complains on standard error where nobody is
/// logged in. There is nothing to choose by then.
fn quiet_vulkan() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: first of all in `main`, when this is the only thread and nobody else reads the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

/// 0 when it worked, 2 for bad usage (clap's own), 1 for a failed run.
fn main() -> ExitCode {
    quiet_vulkan();
    let Err(error) = run(Cli::parse()) else { return ExitCode::SUCCESS };
    eprintln!("{}", describe(&error));
    ExitCode::FAILURE
}
