//! `cargo xtask wasm`: the crate for the browser, in pkg/wasm.

use std::{ffi::OsStr, fs, path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use crate::{
    shell::{command, copy_files, read, root, run, step, target_dir},
    toolchain::Toolchain,
    tools,
};

pub const TARGET: &str = "wasm32-unknown-unknown";
pub const DEFAULT_PROFILE: &str = "release";

/// What the package weighed gzipped when somebody last looked, in bytes: less is better, and more by [`GROWTH`] wants a
/// reason and a new figure here.
const GZIPPED: u64 = 3_160_000;
const GROWTH: f64 = 1.02;

pub fn toolchain() -> Result<Toolchain> {
    Toolchain::find(TARGET)
}

/// `cargo` for the browser. The flags come from .cargo/config.toml.
pub fn cargo<I>(arguments: I) -> Result<Command>
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let mut cargo = toolchain()?.cargo(arguments);
    // Apart from the native builds, whose build scripts and macros are compiled with other settings.
    cargo.env("CARGO_TARGET_DIR", web_dir());
    // Each crate in one piece, for the size of the package; a native program would only be built more slowly.
    cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", tools::wasm_bindgen("wasm-bindgen-test-runner"));
    Ok(cargo)
}

/// Builds and binds the package, and prints its size.
pub fn build(profile: &str) -> Result<()> {
    step("wasm: toolchain", toolchain)?;
    step("wasm: tools", tools::install_wasm_bindgen)?;
    step("wasm: cargo build", || compile(profile))?;
    step("wasm: wasm-bindgen", || bind(profile))?;
    step("wasm: pkg/wasm", publish)
}

fn compile(profile: &str) -> Result<()> {
    run(cargo(["build", "--lib", "--no-default-features", "--profile", profile])?)
}

fn bind(profile: &str) -> Result<()> {
    let folder = if profile == "dev" { "debug" } else { profile };
    let built = web_dir().join(TARGET).join(folder).join("setokim.wasm");
    let mut bind =
        command(tools::wasm_bindgen("wasm-bindgen"), ["--remove-name-section", "--target", "web", "--out-dir"]);
    bind.arg(bound_dir()).arg(built);
    run(bind)
}

fn publish() -> Result<()> {
    copy_files(&bound_dir(), &root().join("pkg/wasm"))?;
    print_size()
}

/// Bytes of the built package, as they are and as a server sends them.
pub fn print_size() -> Result<()> {
    let Ok(built) = fs::metadata(package()) else {
        println!("    pkg/wasm is not built: `cargo xtask wasm` builds it");
        return Ok(());
    };
    println!("    wasm: {:.2} MB, {:.2} MB gzipped", megabytes(built.len()), megabytes(gzipped()?));
    Ok(())
}

/// Fails when the built package has grown.
pub fn check_size() -> Result<()> {
    let (limit, now) = ((GZIPPED as f64 * GROWTH) as u64, gzipped()?);
    ensure!(now <= limit, "the package has grown to {now} bytes gzipped; {GZIPPED} and a little were expected");
    Ok(())
}

fn gzipped() -> Result<u64> {
    let gzip = "zlib.gzipSync(fs.readFileSync(process.argv[1]), { level: 9 }).length";
    let mut node = command("node", ["-p", gzip]);
    node.arg(package());
    Ok(read(node)?.parse()?)
}

fn package() -> PathBuf {
    root().join("pkg/wasm/setokim_bg.wasm")
}

fn web_dir() -> PathBuf {
    target_dir().join("web")
}

fn bound_dir() -> PathBuf {
    web_dir().join("bindgen")
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
