//! `cargo xtask test`: every check, the cheap ones first. A failed step does not stop the others.

use std::{
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    browser, layers, npm, python, setup,
    shell::{command, run as run_command, run_and_read},
    wasm::{self, Toolchain},
};

struct Step {
    name: &'static str,
    /// A step that must have passed; without it this one cannot run.
    needs: Option<&'static str>,
    /// Whether it is run only with `--full`, or by name.
    is_slow: bool,
    /// Given whether the slow tests are wanted.
    work: fn(bool) -> Result<()>,
}

const STEPS: [Step; 13] = [
    Step { name: "fmt", needs: None, is_slow: false, work: fmt },
    Step { name: "layers", needs: None, is_slow: false, work: floors },
    Step { name: "setup", needs: None, is_slow: false, work: set_up },
    Step { name: "typescript", needs: Some("setup"), is_slow: false, work: typescript },
    Step { name: "clippy", needs: None, is_slow: false, work: clippy },
    Step { name: "native", needs: Some("setup"), is_slow: false, work: native },
    Step { name: "clippy-wasm", needs: Some("setup"), is_slow: false, work: clippy_wasm },
    Step { name: "wasm", needs: Some("setup"), is_slow: false, work: wasm_package },
    // After the package, whose generated types it reads.
    Step { name: "types", needs: Some("wasm"), is_slow: false, work: types },
    Step { name: "browser", needs: Some("setup"), is_slow: false, work: browser_tests },
    Step { name: "page", needs: Some("wasm"), is_slow: false, work: page },
    Step { name: "llama-cpp", needs: None, is_slow: true, work: llama_cpp },
    Step { name: "memory", needs: None, is_slow: true, work: memory },
];

/// Runs all steps, or those named.
pub fn run(arguments: &[&str]) -> Result<ExitCode> {
    let full = arguments.contains(&"--full");
    let named: Vec<&str> = arguments.iter().copied().filter(|argument| *argument != "--full").collect();
    if let Some(unknown) = named.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        bail!("there is no step `{unknown}`; the steps are {}", names.join(", "));
    }

    let mut report: Vec<(&str, Duration, Result<()>)> = Vec::new();
    let is_wanted = |step: &&Step| if named.is_empty() { full || !step.is_slow } else { named.contains(&step.name) };
    for step in STEPS.iter().filter(is_wanted) {
        println!("==> {}", step.name);
        let start = Instant::now();
        let failed = |name| report.iter().any(|(done, _, result)| *done == name && result.is_err());
        let result = match step.needs {
            Some(needed) if failed(needed) => not_run(needed),
            _ => (step.work)(full),
        };
        if let Err(error) = &result {
            eprintln!("error: {error:#}");
        }
        report.push((step.name, start.elapsed(), result));
    }
    Ok(summarise(&report))
}

fn not_run(needed: &str) -> Result<()> {
    bail!("not run, because `{needed}` failed")
}

fn summarise(report: &[(&str, Duration, Result<()>)]) -> ExitCode {
    println!("\n{:<12} {:>8}  result", "step", "seconds");
    for (name, time, result) in report {
        let result = result.as_ref().map_or_else(|error| format!("FAILED: {error:#}"), |()| "ok".to_owned());
        println!("{name:<12} {:>8.1}  {}", time.as_secs_f32(), result.lines().next().unwrap_or_default());
    }
    let failed = report.iter().filter(|(_, _, result)| result.is_err()).count();
    println!("{} passed, {failed} failed", report.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes a build do what `cargo clippy -- -D warnings` does in a check: what it compiles of the dependencies serves the
/// tests too, where a check would go through burn a second time (minutes, on a machine that has built nothing yet).
fn with_clippy(mut build: Command, driver: &str) -> Command {
    build.env("RUSTC_WORKSPACE_WRAPPER", driver).env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");
    build
}

fn fmt(_full: bool) -> Result<()> {
    run_command(command("cargo", ["fmt", "--all", "--check"])).context("`cargo fmt --all` puts it right")
}

fn floors(_full: bool) -> Result<()> {
    layers::check()
}

fn set_up(_full: bool) -> Result<()> {
    setup::run()
}

fn types(_full: bool) -> Result<()> {
    run_command(npm::script("check"))
}

fn typescript(_full: bool) -> Result<()> {
    run_command(npm::script("test"))
}

fn clippy(_full: bool) -> Result<()> {
    let mut build = command("cargo", ["build", "--workspace", "--all-targets"]);
    build.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0"); // of our own crates: the binary that it leaves is too slow to use
    run_command(with_clippy(build, "clippy-driver"))
}

fn native(full: bool) -> Result<()> {
    let mut tests = command("cargo", ["test", "--workspace"]);
    if full {
        tests.args(["--", "--include-ignored"]);
    }
    run_command(browser::with_gpu(tests))
}

fn clippy_wasm(_full: bool) -> Result<()> {
    let toolchain = Toolchain::find()?;
    let build = toolchain.cargo(["build", "--release", "--lib", "--test", "browser", "--no-default-features"]);
    run_command(with_clippy(build, toolchain.clippy_driver()))
}

fn wasm_package(_full: bool) -> Result<()> {
    wasm::build(wasm::DEFAULT_PROFILE)?;
    wasm::check_size()
}

/// The same profile and features as the package, so that nothing but the tests is compiled for them.
fn browser_tests(full: bool) -> Result<()> {
    let mut tests = Toolchain::find()?.cargo(["test", "--release", "--no-default-features", "--test", "browser"]);
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

/// The command line, where the tests' run of cargo leaves it.
pub fn native_binary() -> Command {
    // A test is named beside the program, because tests' own dependencies give shared crates more features: without it
    // burn would be compiled a second time (minutes).
    command("cargo", ["build", "--bin", "setokim", "--test", "cli"])
}

/// The command line as it is timed beside other programs, in [`MEASURED`].
pub fn measured_binary() -> Command {
    command("cargo", ["build", "--profile", "native", "--bin", "setokim"])
}

pub const MEASURED: &str = "target/native/setokim";

fn llama_cpp(_full: bool) -> Result<()> {
    python::compare_llama_cpp()
}

/// Reads and writes outside of memory, and of what was never written, by our own `unsafe` or a dependency's: the kernels
/// and a little hostile input under valgrind, which shows them a processor with AVX2.
fn memory(_full: bool) -> Result<()> {
    let mut tests = command("cargo", ["test", "--lib", "--test", "fuzz", "--test", "packed", "--"]);
    tests.args(["--skip", "on_the_gpu", "--test-threads", "1"]);
    tests.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", "valgrind --quiet --error-exitcode=99 --leak-check=no");
    tests.env("PROPTEST_CASES", "50");
    run_command(tests)
}

fn page(_full: bool) -> Result<()> {
    let mut playwright = npm::script("e2e");
    playwright.env("CHROMIUM", browser::chromium()?);
    run_command(playwright)
}
