//! `cargo xtask bench`: the clustering beside PyTorch's, the encoder on every device, the size of the browser package.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    binary,
    browser::with_gpu,
    growth,
    shell::{command, find, read, run, target_dir},
    wasm,
};

/// `arguments` go to `setokim bench`.
pub fn run_all(arguments: &[&str]) -> Result<()> {
    let setokim = binary::for_timing()?;
    let ours = target_dir().join("bench.json");
    let mut bench = command(setokim, ["bench", "--json"]);
    bench.arg(&ours).args(arguments);
    run(with_gpu(bench))?;
    let mut cases = rows(&fs::read_to_string(&ours)?)?;
    match pytorch() {
        Some(text) => cases.extend(rows(&text)?),
        None => println!("PyTorch is not installed for `python3` (or $PYTHON): its reference is left out"),
    }
    print(&mut cases);
    growth::write(&cases)?;
    wasm::print_size()
}

fn rows(text: &str) -> Result<Vec<Value>> {
    serde_json::from_str(text).context("the benchmark's output")
}

/// The same clustering by the reference formula, where PyTorch is present.
fn pytorch() -> Option<String> {
    let python = std::env::var("PYTHON").ok().or_else(|| find("python3").map(|_| "python3".to_owned()))?;
    read(command(&python, ["-c", "import torch"])).ok()?;
    println!("the reference formula in PyTorch");
    read(command(&python, ["-m", "training.bench_cluster"])).ok()
}

/// One block per work, the fastest device first.
fn print(cases: &mut [Value]) {
    let median = |case: &Value| case["median_ms"].as_f64().unwrap_or(f64::INFINITY);
    let size = |case: &Value| {
        let what = case["what"].as_str().unwrap_or_default();
        what.split(['=', ' ']).find_map(|word| word.parse::<u64>().ok()).unwrap_or(u64::MAX)
    };
    cases.sort_by(|a, b| {
        let what = |case: &Value| case["what"].as_str().unwrap_or_default().to_owned();
        size(a).cmp(&size(b)).then(what(a).cmp(&what(b))).then(median(a).total_cmp(&median(b)))
    });
    println!("\n{:<26} {:<44} {:>11} {:>10} {:>10} {:>5}", "work", "device", "median ms", "min", "max", "runs");
    for case in cases.iter() {
        let text = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| case[key].as_f64().map_or("-".to_owned(), |value| format!("{value:.1}"));
        println!(
            "{:<26} {:<44} {:>11} {:>10} {:>10} {:>5}",
            text("what"),
            text("device"),
            number("median_ms"),
            number("min_ms"),
            number("max_ms"),
            case["runs"]
        );
    }
}
