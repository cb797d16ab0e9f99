//! `cargo xtask setup`: installs what the other commands need. Quick when there is nothing to do.

use anyhow::Result;

use crate::{browser, npm, shell::step, tools, wasm};

pub fn run() -> Result<()> {
    step("set-up: wasm toolchain", wasm::toolchain)?;
    step("set-up: wasm-bindgen", tools::install_wasm_bindgen)?;
    step("set-up: browser and software GPU", browser::install)?;
    step("set-up: npm packages", npm::install)
}
