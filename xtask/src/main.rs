//! `cargo xtask`: sets up a fresh machine, builds the browser package, serves the demo and runs every check.

mod bench;
mod binary;
mod browser;
mod checks;
mod debian;
mod demo;
mod docs;
mod growth;
mod layers;
mod licences;
mod model;
mod npm;
mod peers;
mod python;
mod setup;
mod shell;
mod test;
mod toolchain;
mod tools;
mod training;
mod wasm;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask demo [--port N]          build everything and serve the page on loopback
cargo xtask test [--full] [STEP]...  run every check, or the named steps; --full adds the slow ones
cargo xtask wasm [--profile NAME]    build the browser package into pkg/wasm
cargo xtask cargo ARGUMENT...        run cargo with the toolchain and flags of the browser build
cargo xtask model photo              put the photo model together from its packages, in models/photo
cargo xtask setup                    install what the other commands need
cargo xtask licences                 write docs/licences.md and the licence texts that go with the browser package
cargo xtask bench                    measure the kernels, the model and the package
cargo xtask bench --peers            measure the package beside onnxruntime-web, wllama and llama.cpp";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if docs::is_rustdoc() {
        docs::as_rustdoc(&arguments)?;
        return Ok(ExitCode::SUCCESS);
    }
    match arguments.as_slice() {
        ["demo"] => demo::run(demo::DEFAULT_PORT)?,
        ["demo", "--port", port] => demo::run(port.parse()?)?,
        ["test", rest @ ..] => return test::run(rest),
        ["wasm"] => wasm::build(wasm::DEFAULT_PROFILE)?,
        ["wasm", "--profile", profile] => wasm::build(profile)?,
        ["cargo", rest @ ..] => shell::run(wasm::cargo(rest)?)?,
        ["model", "photo"] => model::photo()?,
        ["setup"] => setup::run()?,
        ["licences"] => licences::write()?,
        ["bench", "--peers"] => peers::run_all()?,
        ["bench", rest @ ..] => bench::run_all(rest)?,
        ["help" | "--help" | "-h"] => println!("{USAGE}"),
        _ => bail!("that is not a command of xtask; these are:\n{USAGE}"),
    }
    Ok(ExitCode::SUCCESS)
}
