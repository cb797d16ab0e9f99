//! `setokim complete`: the raw continuation of a prompt by a GGUF model.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use burn::tensor::Device;
use clap::ValueEnum;
use setokim::complete::{CompleteOptions, Completion, complete};
use setokim::gguf::Gguf;
use setokim::llm::Llama;
use setokim::sample::Sampling;
use setokim::text::Tokenizer;

/// Continue a prompt as it stands: no chat template, BOS as the file's metadata says
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: a LLaMA-family GGUF file (F32, F16, BF16, Q8_0, Q4_0, Q4_1)
    #[arg(long, value_name = "FILE")]
    gguf: PathBuf,
    /// The text to continue
    prompt: String,
    /// At most this many new tokens
    #[arg(short = 'n', long, default_value_t = 128)]
    max_tokens: usize,
    /// Always take the best token
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p"])]
    greedy: bool,
    /// The same seed gives the same text
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[arg(long, default_value_t = Sampling::default().temperature)]
    temperature: f32,
    /// Draw among this many of the best tokens (0: all)
    #[arg(long, default_value_t = Sampling::default().top_k)]
    top_k: usize,
    /// Draw among the fewest best tokens that together have this probability
    #[arg(long, default_value_t = Sampling::default().top_p)]
    top_p: f32,
    /// Make tokens that have been there less likely (1: no)
    #[arg(long, default_value_t = Sampling::default().repetition_penalty)]
    repetition_penalty: f32,
    /// End before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    /// Print one JSON object: text, tokens with their two best logits, seconds
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DeviceChoice {
    Cpu,
    Gpu,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let device = open_device(args.device)?;
    let bytes = std::fs::read(&args.gguf).map_err(|error| setokim::Error::io(&args.gguf, error))?;
    let gguf = Gguf::parse(&bytes)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let model = Llama::from_gguf(&gguf, &device)?;
    drop(bytes);

    let options = options(&args);
    let mut stdout = std::io::stdout().lock();
    let mut printed = Ok(());
    let on_text = |text: &str| {
        if !args.json && printed.is_ok() {
            printed = write!(stdout, "{text}").and_then(|()| stdout.flush());
        }
    };
    let abort = AtomicBool::new(false);
    let completion = pollster::block_on(complete(&model, &tokenizer, &args.prompt, &options, &abort, on_text))?;
    printed.context("writing to standard output")?;
    if args.json {
        writeln!(stdout, "{}", report(&completion))?;
    } else if stdout.is_terminal() {
        writeln!(stdout)?;
    }
    Ok(())
}

fn options(args: &Args) -> CompleteOptions {
    let drawn = Sampling {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        repetition_penalty: args.repetition_penalty,
        seed: args.seed,
    };
    let greedy = Sampling { repetition_penalty: args.repetition_penalty, ..Sampling::greedy() };
    CompleteOptions {
        max_tokens: args.max_tokens,
        sampling: if args.greedy { greedy } else { drawn },
        stop: args.stop.clone(),
    }
}

fn open_device(choice: DeviceChoice) -> anyhow::Result<Device> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::flex()),
        DeviceChoice::Gpu => {
            let device = pollster::block_on(Device::wgpu_options().init_async());
            Ok(device.map_err(|error| setokim::Error::DeviceUnavailable(error.to_string()))?)
        }
    }
}

fn report(completion: &Completion) -> serde_json::Value {
    let steps = completion.steps.iter().map(|step| {
        let best: Vec<_> = step.best.iter().flatten().map(|best| (best.id, best.logit)).collect();
        serde_json::json!({ "id": step.id, "best": best })
    });
    serde_json::json!({
        "text": completion.text,
        "prompt_ids": completion.prompt_ids,
        "steps": steps.collect::<Vec<_>>(),
        "finish": completion.finish,
        "prefill_seconds": completion.prefill_seconds,
        "decode_seconds": completion.decode_seconds,
    })
}
