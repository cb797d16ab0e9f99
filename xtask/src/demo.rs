//! `cargo xtask demo`: the page, built and served on loopback.

use anyhow::{Result, ensure};

use crate::{
    model::{self, Unreachable},
    npm,
    shell::{command, root, run as run_command, step},
    wasm,
};

pub const DEFAULT_PORT: u16 = 4173;

pub fn run(port: u16) -> Result<()> {
    ensure!(root().join("models").is_dir(), "there are no weights in models/; they are part of the repository");
    println!("The first time this compiles burn for the browser: about ten minutes on two cores, seconds afterwards.");
    if let Err(Unreachable(error)) = model::photo_or_unreachable()? {
        println!("==> without photographs, only the drawn world: {error:#}");
    }
    wasm::build(wasm::DEFAULT_PROFILE)?;
    step("demo: npm packages", npm::install)?;
    step("demo: npm package and page", || run_command(npm::script("build")))?;
    println!("==> http://127.0.0.1:{port}/ (Ctrl-C ends it)");
    let port = port.to_string();
    let serve = ["vite", "preview", "--host", "127.0.0.1", "--strictPort", "--port", &port];
    let mut vite = command("npx", serve);
    vite.current_dir(root().join("www"));
    run_command(vite)
}
