//! `setokim complete`: the raw continuation of a prompt by a GGUF model.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use setokim::formats::gguf::Gguf;
use setokim::kernels::quant_matmul::Activations;
use setokim::model::complete::{CompleteOptions, Completion, complete as run};
use setokim::model::llm::Llama;
use setokim::model::sampler::Sampling;
use setokim::text::Tokenizer;

use crate::{DeviceArgs, read_file};

#[derive(Args)]
pub struct CompleteArgs {
    /// The model: a LLaMA-family GGUF file (F32, F16, BF16, Q8_0, Q4_0, Q4_1).
    #[arg(long, value_name = "FILE")]
    gguf: PathBuf,
    /// The text to continue. No chat template is put around it; BOS is as the file's metadata says.
    prompt: String,
    /// New tokens at the most.
    #[arg(short = 'n', long, default_value_t = CompleteOptions::default().max_tokens)]
    max_tokens: usize,
    /// Always take the best token.
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p"])]
    greedy: bool,
    /// The same seed gives the same text.
    #[arg(long, default_value_t = Sampling::default().seed)]
    seed: u64,
    /// Above 1 draws more boldly, below 1 more timidly.
    #[arg(long, default_value_t = Sampling::default().temperature)]
    temperature: f32,
    /// Draw among this many of the best tokens (0: all).
    #[arg(long, default_value_t = Sampling::default().top_k)]
    top_k: usize,
    /// Draw among the fewest best tokens that together have this probability.
    #[arg(long, default_value_t = Sampling::default().top_p)]
    top_p: f32,
    /// Make tokens that have been there less likely (1: no).
    #[arg(long, default_value_t = Sampling::default().repetition_penalty)]
    repetition_penalty: f32,
    /// End before this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Multiply packed weights with f32 activations, where the CPU rounds them to 16 bits for speed.
    #[arg(long)]
    reference: bool,
    #[command(flatten)]
    device: DeviceArgs,
    /// Print one JSON object in place of the text: text, tokens with their two best logits, seconds.
    #[arg(long)]
    json: bool,
}

pub fn complete(args: &CompleteArgs) -> Result<()> {
    let device = args.device.open()?.device;
    let bytes = read_file(&args.gguf)?;
    let gguf = Gguf::parse(&bytes)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let activations = if args.reference { Activations::Exact } else { Activations::default() };
    let model = Llama::from_gguf(&gguf, activations, &device)?;
    drop(gguf);
    drop(bytes); // the model has its own, packed

    let mut stdout = std::io::stdout().lock();
    let mut written = Ok(());
    let options = options(args);
    let completion = pollster::block_on(async {
        let mut completing = run(&model, &tokenizer, &args.prompt, &options);
        while let Some(text) = completing.next().await {
            if !args.json && written.is_ok() {
                written = write!(stdout, "{text}").and_then(|()| stdout.flush());
            }
        }
        completing.await
    })?;
    if args.json {
        written = writeln!(stdout, "{}", report(&completion));
    } else if stdout.is_terminal() {
        written = written.and_then(|()| writeln!(stdout));
    }
    written.context("standard output")
}

fn options(args: &CompleteArgs) -> CompleteOptions {
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
        ..CompleteOptions::default()
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
