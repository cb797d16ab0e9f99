//! `cargo xtask bench --peers`: the same work by us and by others, on the same weights, taking turns.

use std::{fmt::Write, fs};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{
    binary, browser, npm, python,
    shell::{command, root, run, step, target_dir},
};

const FOLDER: &str = "benches/peers";
const PROMPT: &str = "benches/peers/prompt.txt";
const DOCUMENT: &str = "docs/benchmarks.md";
/// A table of the document stands between such a line and the next [`END`].
const BEGIN: &str = "<!-- written by `cargo xtask bench --peers` -->";
const END: &str = "<!-- end -->";

/// What one program needed for one work, or why it could not do it.
#[derive(Deserialize)]
struct Row {
    what: Option<String>,
    program: String,
    unit: Option<String>,
    median: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    runs: Option<usize>,
    failed: Option<String>,
}

pub fn run_all() -> Result<()> {
    let folder = target_dir().join("peers");
    fs::create_dir_all(&folder)?;
    let path = |name: &str| folder.join(name).display().to_string();
    let [encoder, wide, siglip, in_browser] = ["encoder.onnx", "wide", "siglip-base", "browser.json"].map(path);
    step("peers: npm packages", || npm::install().and_then(|()| npm::install_in(&root().join(FOLDER))))?;
    step("peers: the encoder as ONNX", || {
        python::write_encoder("training.export_onnx", &["models/setokim-tiny", "--out", &encoder])
    })?;
    step("peers: a random SeTok", || random_encoder("training.random_setok", &wide))?;
    step("peers: a random SigLIP", || random_encoder("training.random_siglip", &siglip))?;
    let gguf = python::packaged_model()?;

    let mut bench = command("node", [&format!("{FOLDER}/run.mjs"), "--encoder", &encoder, "--wide", &wide]);
    bench.args(["--siglip", &siglip, "--gguf", &gguf, "--out", &in_browser]).env("CHROMIUM", browser::chromium()?);
    run(bench).context("`cargo xtask wasm` builds the package that is measured")?;
    let mut rows: Vec<Row> = serde_json::from_str(&fs::read_to_string(&in_browser)?)?;
    rows.extend(serde_json::from_str::<Vec<Row>>(&python::time_llama_cpp(PROMPT)?)?);

    let table = table(&rows)?;
    println!("\n{table}");
    write_between(BEGIN, &table)
}

/// A model folder with random weights and the same as ONNX, unless they are there; in `packed`, with weights of 8 bits.
fn random_encoder(module: &str, folder: &str) -> Result<()> {
    let (packed, program) = (format!("{folder}/packed"), format!("{folder}/encoder.onnx"));
    if !fs::exists(program)? {
        python::write_encoder(module, &["--out", folder])?;
    }
    let setokim = binary::for_timing()?;
    if fs::exists(&packed)? {
        fs::remove_dir_all(&packed)?;
    }
    run(command(setokim, ["convert", folder, "-o", &packed, "--type", "q8"]))
}

/// Markdown; of every work ours first, and for each peer how many times its figure ours is.
fn table(rows: &[Row]) -> Result<String> {
    let mut table = String::from(
        "| work | program | median | min - max | runs | ours / this |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let what = row.what.as_deref().unwrap_or("loading");
        if let Some(message) = &row.failed {
            writeln!(table, "| {what} | {} | could not: {message} | | | |", row.program)?;
            continue;
        }
        let (Some(median), Some(min), Some(max), Some(runs)) = (row.median, row.min, row.max, row.runs) else {
            anyhow::bail!("a row without figures: {what}, {}", row.program)
        };
        let ours = rows.iter().find(|other| other.what == row.what && is_ours(other)).and_then(|ours| ours.median);
        let ratio = ours.filter(|_| !is_ours(row)).map_or(String::new(), |ours| format!("{:.2} x", ours / median));
        let unit = row.unit.as_deref().unwrap_or_default();
        writeln!(table, "| {what} | {} | {median:.1} {unit} | {min:.1} - {max:.1} | {runs} | {ratio} |", row.program)?;
    }
    Ok(table)
}

fn is_ours(row: &Row) -> bool {
    row.program.contains("setokim")
}

/// Puts `text` into the document between the line `begin` and the next [`END`].
pub fn write_between(begin: &str, text: &str) -> Result<()> {
    let path = root().join(DOCUMENT);
    let document = fs::read_to_string(&path)?;
    let (before, rest) = document.split_once(begin).with_context(|| format!("{DOCUMENT} has no line {begin}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{DOCUMENT} has no line {END}"))?;
    fs::write(path, format!("{before}{begin}\n\n{text}\n{END}{after}"))?;
    Ok(())
}
