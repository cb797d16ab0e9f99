//! The command line, built for other steps.

use std::path::PathBuf;

use anyhow::Result;

use crate::shell::{command, run, target_dir};

/// Builds the command line as the tests have it, and says where it lies.
pub fn for_tests() -> Result<PathBuf> {
    // A test is named beside the program, because tests' own dependencies give shared crates more features: without it
    // burn would be compiled a second time (minutes).
    run(command("cargo", ["build", "--all-features", "--bin", "setokim", "--test", "empty"]))?;
    Ok(program("debug"))
}

/// Builds the command line as it is timed beside other programs, and says where it lies.
pub fn for_timing() -> Result<PathBuf> {
    run(command("cargo", ["build", "--profile", "native", "--all-features", "--bin", "setokim"]))?;
    Ok(program("native"))
}

fn program(folder: &str) -> PathBuf {
    target_dir().join(folder).join(format!("setokim{}", std::env::consts::EXE_SUFFIX))
}
