//! `cargo xtask test`: every check, the cheap ones first. A failed step does not stop the others.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{checks, training};

struct Step {
    name: &'static str,
    /// A step that must have passed; without it this one cannot run.
    needs: Option<&'static str>,
    work: fn(bool) -> Result<()>,
}

const STEPS: [Step; 17] = [
    Step { name: "fmt", needs: None, work: checks::fmt },
    Step { name: "layers", needs: None, work: checks::layers },
    Step { name: "package", needs: None, work: checks::package },
    Step { name: "deny", needs: None, work: checks::deny },
    Step { name: "setup", needs: None, work: checks::set_up },
    Step { name: "lint", needs: Some("setup"), work: checks::lint },
    Step { name: "typescript", needs: Some("setup"), work: checks::typescript },
    Step { name: "training", needs: None, work: training::check },
    Step { name: "clippy", needs: None, work: checks::clippy },
    Step { name: "docs", needs: Some("clippy"), work: checks::docs },
    Step { name: "features", needs: Some("clippy"), work: checks::features },
    Step { name: "native", needs: Some("clippy"), work: checks::native },
    Step { name: "clippy-wasm", needs: Some("setup"), work: checks::clippy_wasm },
    Step { name: "wasm", needs: Some("setup"), work: checks::wasm_package },
    // After the package, whose generated types it reads.
    Step { name: "types", needs: Some("wasm"), work: checks::types },
    Step { name: "browser", needs: Some("clippy-wasm"), work: checks::browser },
    Step { name: "page", needs: Some("wasm"), work: checks::page },
];

/// Run only with `--full`, or by name.
const SLOW_STEPS: [Step; 3] = [
    Step { name: "llama-cpp", needs: None, work: checks::llama_cpp },
    Step { name: "memory", needs: None, work: checks::memory },
    Step { name: "neon", needs: None, work: checks::neon },
];

/// Runs all steps, or those named.
pub fn run(arguments: &[&str]) -> Result<ExitCode> {
    let full = arguments.contains(&"--full");
    let named: Vec<&str> = arguments.iter().copied().filter(|argument| *argument != "--full").collect();
    let all = || STEPS.iter().chain(&SLOW_STEPS);
    if let Some(unknown) = named.iter().find(|name| all().all(|step| step.name != **name)) {
        let names: Vec<_> = all().map(|step| step.name).collect();
        bail!("there is no step `{unknown}`; the steps are {}", names.join(", "));
    }

    let mut report: Vec<(&str, Duration, Result<()>)> = Vec::new();
    let wanted: Vec<&Step> = match (named.is_empty(), full) {
        (true, false) => STEPS.iter().collect(),
        (true, true) => all().collect(),
        (false, _) => all().filter(|step| named.contains(&step.name)).collect(),
    };
    for step in wanted {
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
