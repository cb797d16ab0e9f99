//! What the steps of `cargo xtask test` do. Each is given whether the slow tests are wanted too.
//!
//! Compiling burn takes most of the time, so all native steps share one build of it, and all steps for the browser another:
//! they name the same profile, the same features and the same kinds of targets (tests' own dependencies give shared crates
//! more features). Clippy is the compiler of that build instead of a check of its own, which would be a third.

use std::{fs, process::Command};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    browser, debian, docs, layers, npm, python, setup,
    shell::{command, read, root, run, run_and_read, target_dir},
    toolchain::Toolchain,
    tools, training, wasm,
};

/// Of what is uploaded to crates.io, in bytes.
const LARGEST_CRATE: u64 = 10_000_000;

pub fn fmt(_full: bool) -> Result<()> {
    run(command("cargo", ["fmt", "--all", "--check"])).context("`cargo fmt --all` puts it right")
}

pub fn layers(_full: bool) -> Result<()> {
    layers::check()
}

pub fn set_up(_full: bool) -> Result<()> {
    setup::run()
}

/// Format and lints of TypeScript, JavaScript, JSON and CSS.
pub fn lint(_full: bool) -> Result<()> {
    run(npm::script("lint")).context("`npm run format` puts much of it right")
}

pub fn typescript(_full: bool) -> Result<()> {
    run(npm::script("test"))
}

/// Licences, sources and versions of all crates, as `deny.toml` allows them. Advisories are fetched from elsewhere and may
/// change from day to day; `.github/workflows` asks for them.
pub fn deny(_full: bool) -> Result<()> {
    run(command(tools::cargo_deny()?, ["--locked", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))
}

/// What is uploaded to crates.io: small enough, and with `--full` tried as far as it goes without an account.
pub fn package(full: bool) -> Result<()> {
    let list = read(command("cargo", ["package", "--package", "setokim", "--list", "--allow-dirty"]))?;
    // Cargo writes some of the files itself.
    let sizes = list.lines().filter_map(|file| Some(fs::metadata(root().join(file)).ok()?.len()));
    let size: u64 = sizes.sum();
    println!("    {} files, {:.1} MB before compression", list.lines().count(), size as f64 / 1e6);
    ensure!(
        size <= LARGEST_CRATE,
        "the crate is larger than crates.io takes; `include` in Cargo.toml names what is in it"
    );
    if full {
        run(command("cargo", ["publish", "--package", "setokim", "--dry-run", "--allow-dirty"]))?;
    }
    Ok(())
}

pub fn clippy(_full: bool) -> Result<()> {
    run(native_tests(["--no-run"]))
}

pub fn native(full: bool) -> Result<()> {
    let mut tests = native_tests(["--no-fail-fast"]);
    if full {
        if let Some(encoder) = training::photo_encoder()? {
            tests.env("SETOKIM_PHOTO_ENCODER", encoder);
        }
        tests.args(["--", "--include-ignored"]);
    }
    run(browser::with_gpu(tests))
}

fn native_tests<const N: usize>(arguments: [&str; N]) -> Command {
    let mut tests = command("cargo", ["test", "--workspace", "--all-features", "--lib", "--bins", "--tests"]);
    tests.args(arguments);
    with_clippy(tests, "clippy-driver")
}

pub fn docs(_full: bool) -> Result<()> {
    let tests = command("cargo", ["test", "--package", "setokim", "--all-features", "--doc"]);
    docs::check(with_clippy(tests, "clippy-driver"))
}

/// Each feature alone, and none. Without optimising our own crate, whose code nobody runs here.
pub fn features(_full: bool) -> Result<()> {
    let metadata = read(command("cargo", ["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    let ours = packages.iter().find(|package| package["name"] == "setokim").context("the crate is in its workspace")?;
    let features = ours["features"].as_object().context("features have names")?.keys().map(String::as_str);
    for feature in features.filter(|feature| *feature != "default").chain([""]) {
        let mut build = command("cargo", ["build", "--no-default-features", "--features", feature]);
        // An empty test, for the features that the others' dependencies bring.
        build.args(["--lib", "--bins", "--test", "empty"]).env("CARGO_PROFILE_DEV_OPT_LEVEL", "0");
        run(with_clippy(build, "clippy-driver"))?;
    }
    Ok(())
}

pub fn clippy_wasm(_full: bool) -> Result<()> {
    run(wasm_tests(["--no-run"])?)
}

pub fn browser(full: bool) -> Result<()> {
    let mut tests = wasm_tests([])?;
    if full {
        tests.args(["--", "--include-ignored"]);
    }
    let printed = run_and_read(browser::with_chromium(tests)?)?;
    // The runner is content with a file that has no tests; we are not.
    if !printed.contains("test result: ok") || printed.contains("test result: ok. 0 passed") {
        bail!("no test ran in the browser");
    }
    Ok(())
}

/// The profile and features of the package, so that nothing but the tests is compiled for them.
fn wasm_tests<const N: usize>(arguments: [&str; N]) -> Result<Command> {
    let mut tests = wasm::cargo(["test", "--release", "--no-default-features", "--test", "everywhere"])?;
    tests.args(arguments);
    Ok(with_clippy(tests, wasm::toolchain()?.clippy_driver()))
}

/// The package is compiled without clippy, which leaves out some of the compiler's own optimisation.
pub fn wasm_package(_full: bool) -> Result<()> {
    wasm::build(wasm::DEFAULT_PROFILE)?;
    wasm::check_size()
}

pub fn types(_full: bool) -> Result<()> {
    run(npm::script("check"))
}

pub fn page(full: bool) -> Result<()> {
    let mut playwright = npm::script("e2e");
    playwright.env("CHROMIUM", browser::chromium()?);
    if full {
        playwright.env("SETOKIM_FULL", "1");
    }
    run(playwright)
}

pub fn llama_cpp(_full: bool) -> Result<()> {
    python::compare_llama_cpp()
}

/// Reads and writes outside of memory, and of what was never written, by our own `unsafe` or a dependency's: the kernels
/// and a little hostile input under valgrind, which shows them a processor with AVX2.
pub fn memory(_full: bool) -> Result<()> {
    for which in [&["--lib", "--"][..], &["--test", "native", "--", "fuzz::", "packed::"]] {
        let mut tests = command("cargo", ["test", "--all-features"]);
        tests.args(which).args(["--skip", "on_the_gpu", "--test-threads", "1"]);
        tests.env(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER",
            "valgrind --quiet --error-exitcode=99 --leak-check=no",
        );
        tests.env("PROPTEST_CASES", "50");
        run(tests)?;
    }
    Ok(())
}

/// The kernels' NEON forms, on an emulated ARM processor.
pub fn neon(_full: bool) -> Result<()> {
    const TARGET: &str = "aarch64-unknown-linux-gnu";
    let toolchain = Toolchain::find(TARGET)?;
    debian::install(
        &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user"],
        "a linker and an emulator for ARM",
    )?;
    let mut tests = toolchain.cargo(["test", "--all-features", "--lib", "--", "kernels::", "--skip", "on_the_gpu"]);
    tests.env("CARGO_TARGET_DIR", target_dir().join("neon"));
    tests.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
    tests.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", "qemu-aarch64 -L /usr/aarch64-linux-gnu");
    run(tests)
}

/// Makes a build do what `cargo clippy -- -D warnings` does in a check.
fn with_clippy(mut build: Command, driver: &str) -> Command {
    build.env("RUSTC_WORKSPACE_WRAPPER", driver).env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");
    build
}
