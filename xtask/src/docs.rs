//! `cargo xtask test docs`: the documentation without a warning, and its examples.
//!
//! `cargo doc` would go through burn and all else once more (minutes). So both come from the run of the examples, for which
//! cargo hands rustdoc what was compiled for the tests: it is told that this program is rustdoc.

use std::{env, process::Command};

use anyhow::{Context, Result};

use crate::shell::{run, target_dir};

/// Set in the environment of a program that stands in for rustdoc.
const STAND_IN: &str = "XTASK_IS_RUSTDOC";
/// Options of rustdoc about running examples, and how many arguments each takes in all.
const OF_EXAMPLES: [(&str, usize); 4] =
    [("--test", 1), ("--test-run-directory", 2), ("--test-args", 2), ("--no-run", 1)];

/// Writes the documentation, and runs its examples, as part of `tests`: a `cargo test --doc`.
pub fn check(mut tests: Command) -> Result<()> {
    tests.env("RUSTDOC", env::current_exe()?).env(STAND_IN, "1");
    run(tests)
}

/// Whether cargo means rustdoc when it starts this program.
pub fn is_rustdoc() -> bool {
    env::var_os(STAND_IN).is_some()
}

/// Does what rustdoc would do with the arguments, and before it runs examples, writes the documentation.
pub fn as_rustdoc(arguments: &[&str]) -> Result<()> {
    if arguments.contains(&"--test") {
        let mut write = rustdoc(&without_examples(arguments));
        write.args(["--deny", "warnings", "--out-dir"]).arg(target_dir().join("doc"));
        run(write).context("the documentation has warnings")?;
    }
    run(rustdoc(arguments))
}

fn rustdoc(arguments: &[&str]) -> Command {
    // In the folder where cargo starts it.
    let mut rustdoc = Command::new("rustdoc");
    rustdoc.args(arguments).env_remove(STAND_IN).env_remove("RUSTDOC");
    rustdoc
}

fn without_examples<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut kept = Vec::new();
    let mut rest = arguments;
    while let [first, ..] = rest {
        let length = OF_EXAMPLES.iter().find(|(option, _)| option == first).map_or(0, |(_, length)| *length);
        if length == 0 {
            kept.push(*first);
        }
        rest = &rest[length.max(1).min(rest.len())..];
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_examples_is_left_out() {
        let given =
            ["--edition=2024", "--test", "src/lib.rs", "--test-run-directory", "/here", "--cfg", "x", "--test-args"];
        assert_eq!(without_examples(&given), ["--edition=2024", "src/lib.rs", "--cfg", "x"]);
    }
}
