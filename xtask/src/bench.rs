//! `cargo xtask bench`: not written yet.

use anyhow::{Result, bail};

pub fn run(_arguments: &[&str]) -> Result<()> {
    bail!("the benchmarks are not written yet")
}
