//! `cargo xtask setup`: installs what the other commands need. Quick when there is nothing to do.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    browser, npm,
    shell::{command, find, read, root, run as run_command, step, succeeds_within},
    wasm,
};

/// The command line tool must speak the same version as the `wasm-bindgen` crate (Cargo.toml pins it).
const WASM_BINDGEN: &str = "0.2.130";

pub fn run() -> Result<()> {
    step("set-up: wasm toolchain", wasm::Toolchain::find)?;
    step("set-up: wasm-bindgen", wasm_bindgen)?;
    step("set-up: browser and software GPU", browser::install)?;
    step("set-up: npm packages", npm::install)
}

/// Installs the wasm-bindgen command line tools under target/tools, unless they are there.
///
/// Without `--locked`: the lock file that is published with the tool names a package version that was withdrawn.
pub fn wasm_bindgen() -> Result<()> {
    let tool = wasm_bindgen_tool("wasm-bindgen");
    let version = format!("wasm-bindgen {WASM_BINDGEN}");
    if tool.is_file() && read(command(&tool, ["--version"]))?.starts_with(&version) {
        return Ok(());
    }
    let root = root().join("target/tools");
    let mut install = command("cargo", ["install", "wasm-bindgen-cli", "--version", WASM_BINDGEN, "--force", "--root"]);
    // Its own target folder, so that a broken-off installation goes on where it stopped.
    install.arg(&root).arg("--target-dir").arg(root.join("build"));
    run_command(install).context("wasm-bindgen could not be installed; crates.io must be reachable")
}

/// One of the tools that [`wasm_bindgen`] installs.
pub fn wasm_bindgen_tool(name: &str) -> PathBuf {
    root().join("target/tools/bin").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// Installs those of the Debian packages that are missing. `purpose` is for the sentence when that cannot be done.
pub fn debian_packages(packages: &[&str], purpose: &str) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if find("apt-get").is_none() || !is_root() {
        bail!("{purpose} is missing; on Debian, `apt-get install {list}` as root brings it");
    }
    println!("    installing {list}");
    let wait = ["-o", "DPkg::Lock::Timeout=300"]; // another apt-get may be at work on a machine that has just started
    let mut update = command("apt-get", wait);
    update.args(["-qq", "update"]);
    run_command(update).context("the package lists could not be fetched")?;
    let mut install = command("apt-get", wait);
    install.args(["-qq", "-y", "--no-install-recommends", "install"]).args(missing);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run_command(install).with_context(|| format!("{purpose} could not be installed"))
}

/// Whether this machine's own package manager is Debian's.
pub fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && find("apt-get").is_some()
}

fn is_installed(package: &str) -> bool {
    read(command("dpkg-query", ["-W", "-f", "${Status}", package])).is_ok_and(|status| status == "install ok installed")
}

fn is_root() -> bool {
    read(command("id", ["-u"])).is_ok_and(|user| user == "0")
}

/// Asks rustup for the wasm target; says no quickly where there is no rustup or nothing can be downloaded.
pub fn rustup_adds_wasm() -> bool {
    let mut add = command("rustup", ["target", "add", wasm::TARGET]);
    add.env("RUSTUP_MAX_RETRIES", "0");
    succeeds_within(add, Duration::from_secs(120))
}
