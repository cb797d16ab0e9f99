//! `bench`: medians of the clustering kernels, their references, the encoder and decoding on every device there is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use burn::tensor::kind::Basic;
use burn::tensor::{DType, Device, Tensor, TensorData};
use clap::Args;
use serde::Serialize;
use setokim::image::Image;
use setokim::model::config::ClusterConfig;
use setokim::model::llm::TokenMask;
use setokim::model::setok;
use setokim::model::setokim::Setokim;
use setokim::runtime::device::{self, DeviceChoice};

use crate::{growth, parse_device, write_json};

#[derive(Args)]
pub struct BenchArgs {
    /// Model whose encoder is timed.
    #[arg(long, default_value = "models/setokim-tiny", value_name = "DIR")]
    model: PathBuf,
    /// Devices to time.
    #[arg(long, value_delimiter = ',', default_value = "cpu,gpu", value_parser = parse_device)]
    devices: Vec<DeviceChoice>,
    /// Numbers of patches to cluster.
    #[arg(long, value_delimiter = ',', default_value = "256,729,4096,16384")]
    patches: Vec<usize>,
    /// Width of the features to cluster.
    #[arg(long, default_value_t = 192)]
    width: usize,
    /// Sides of the encoder's square, in pixels.
    #[arg(long, value_delimiter = ',', default_value = "64,128,256,512")]
    sides: Vec<usize>,
    /// Positions that a language model of 135M weights has read before it is timed, in order; not on software adapters.
    #[arg(long, value_delimiter = ',', default_value = "128,512,2048,8000")]
    contexts: Vec<usize>,
    /// Seconds after which a case gets no further repetition (it always runs once).
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Where to write: a file, or `-` for standard output.
    #[arg(long, default_value = "-", value_name = "FILE|-")]
    json: PathBuf,
}

#[derive(Serialize)]
struct Case {
    what: String,
    device: String,
    median_ms: f64,
    min_ms: f64,
    max_ms: f64,
    runs: usize,
}

const MAX_RUNS: usize = 15;

pub fn bench(args: &BenchArgs) -> Result<()> {
    let mut cases = Vec::new();
    for &choice in &args.devices {
        let open = match pollster::block_on(device::open(choice)) {
            Ok(open) => open,
            Err(e) => {
                eprintln!("no GPU case: {e}");
                continue;
            }
        };
        let name =
            open.report.adapter.as_ref().map_or("cpu".to_owned(), |adapter| format!("gpu: {}", adapter.called()));
        for &n in &args.patches {
            eprintln!("clustering {n} patches of width {} on {name}", args.width);
            let features = features(n, args.width, &open.device);
            let config = ClusterConfig { threshold: 0.1, ..ClusterConfig::default() };
            let once = || pollster::block_on(setok::cluster(features.clone(), &config)).map(|_| ());
            cases.push(time(format!("cluster N={n} C={}", args.width), &name, args.seconds, once)?);
        }
        for &side in &args.sides {
            eprintln!("encoder of {side} x {side} on {name}");
            let (encoder, pixels) = growth::encoder(&args.model, side, &open.device)?;
            let once = || finished(encoder.forward(pixels.clone()));
            cases.push(time(format!("encoder side={side}"), &name, args.seconds, once)?);
        }
        cases.push(narrow_decoding(args, &name, &open.device)?);
        if !open.report.adapter.as_ref().is_some_and(|adapter| adapter.software && choice == DeviceChoice::Gpu) {
            cases.extend(decoding(args, &name, &open.device)?);
        }
        eprintln!("encoder on {name}");
        let model = Setokim::open(&args.model, open, |_| ())?;
        let side = model.config().vision.image_size() as u32;
        let image = Image::from_rgb(gradient(side), side, side)?;
        let encode = || finished(model.encode(&model.preprocess(&image)?));
        cases.push(time(format!("encoder {}", model.config().name), &name, args.seconds, encode)?);
        let tokenize = || pollster::block_on(model.tokenize(&image)).map(|_| ());
        cases.push(time(format!("tokenize {}", model.config().name), &name, args.seconds, tokenize)?);
    }
    write_json(&args.json, &cases)
}

/// Sixteen tokens of many narrow layers, each the best after the one before: what launches cost.
fn narrow_decoding(args: &BenchArgs, name: &str, device: &Device) -> Result<Case> {
    const TOKENS: usize = 16;
    eprintln!("decoding with narrow layers on {name}");
    let (model, mut cache) = growth::language(growth::NARROW, 64, device)?;
    let all = Arc::new(TokenMask::new(model.config().vocab_size, device, |_| true, |_| true));
    let once = || {
        cache.truncate(0);
        let mut made = 0;
        while made < TOKENS {
            let chosen = model.choose_ahead(7, TOKENS - made, &all, None, &mut cache)?;
            made += chosen.count();
            pollster::block_on(chosen.read(model.config().vocab_size))?;
        }
        Ok(())
    };
    time(format!("{TOKENS} tokens of 30 narrow layers"), name, args.seconds, once)
}

/// One more token after each context.
fn decoding(args: &BenchArgs, name: &str, device: &Device) -> Result<Vec<Case>> {
    let Some(longest) = args.contexts.iter().max() else { return Ok(Vec::new()) };
    let (model, mut cache) = growth::language(growth::SMOLLM2, longest + 1, device)?;
    let mut cases = Vec::new();
    for &context in &args.contexts {
        eprintln!("decoding after {context} positions on {name}");
        growth::fill(&model, &mut cache, context)?;
        let once = || {
            cache.truncate(context);
            finished(model.logits(model.forward(model.embed(&[7])?, &mut cache)?, None))
        };
        cases.push(time(format!("decode context={context}"), name, args.seconds, once)?);
        cache.truncate(context);
    }
    Ok(cases)
}

/// Waits for a tensor.
fn finished<const D: usize, K: Basic>(tensor: Tensor<D, K>) -> setokim::Result<()> {
    let read = pollster::block_on(tensor.into_data_async());
    read.map(|_| ()).map_err(|error| setokim::Error::DeviceLost(error.to_string()))
}

/// Median of up to [`MAX_RUNS`] runs after one that is not counted.
fn time(what: String, device: &str, seconds: f64, mut run: impl FnMut() -> setokim::Result<()>) -> Result<Case> {
    let begin = Instant::now();
    let mut times = Vec::new();
    loop {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        if begin.elapsed().as_secs_f64() > seconds || times.len() > MAX_RUNS {
            break;
        }
    }
    if times.len() > 1 {
        times.remove(0); // pipelines were compiled in it
    }
    times.sort_by(f64::total_cmp);
    let (median_ms, runs) = (times[times.len() / 2], times.len());
    Ok(Case { what, device: device.to_owned(), median_ms, min_ms: times[0], max_ms: times[runs - 1], runs })
}

/// Points around 12 centres, the same in every run.
fn features(n: usize, c: usize, device: &Device) -> Tensor<2> {
    let value = |i: usize| {
        let (row, channel) = (i / c, i % c);
        let center = ((row % 12 * 7919 + channel * 104_729) % 1000) as f32 / 500.0 - 1.0;
        let noise = ((i * 2_654_435_761) % 10_007) as f32 / 10_007.0 - 0.5;
        center + 0.2 * noise
    };
    let values: Vec<f32> = (0..n * c).map(value).collect();
    Tensor::from_data(TensorData::new(values, [n, c]), (device, DType::F32))
}

fn gradient(side: u32) -> Vec<u8> {
    (0..side * side).flat_map(|i| [(i % side) as u8, (i / side) as u8, 128]).collect()
}
