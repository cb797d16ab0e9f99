//! `cargo xtask demo`: the page, built and served on loopback.

use anyhow::{Result, bail};

use crate::{
    npm,
    shell::{command, root, run as run_command, step},
    wasm,
};

pub const DEFAULT_PORT: u16 = 4173;

pub fn run(port: u16) -> Result<()> {
    println!("The first time this compiles burn for the browser: about ten minutes on two cores, seconds afterwards.");
    wasm::build(wasm::DEFAULT_PROFILE)?;
    step("demo: npm packages", npm::install)?;
    step("demo: models", link_models)?;
    step("demo: npm package and page", || run_command(npm::script("build")))?;
    println!("==> http://127.0.0.1:{port}/ (Ctrl-C ends it)");
    let port = port.to_string();
    let serve = ["vite", "preview", "--host", "127.0.0.1", "--strictPort", "--port", &port];
    let mut vite = command("npx", serve);
    vite.current_dir(root().join("www"));
    run_command(vite)
}

/// Shows the page the weights: it asks for /models/NAME/, and Vite serves what is in www/public.
pub fn link_models() -> Result<()> {
    let (models, public) = (root().join("models"), root().join("www/public"));
    if !models.is_dir() {
        bail!("there are no weights in models/; they are part of the repository");
    }
    std::fs::create_dir_all(&public)?;
    let link = public.join("models");
    if link.exists() {
        return Ok(());
    }
    link_folder(&models, &link)
}

#[cfg(unix)]
fn link_folder(models: &std::path::Path, link: &std::path::Path) -> Result<()> {
    std::os::unix::fs::symlink(models, link)?;
    Ok(())
}

#[cfg(not(unix))]
fn link_folder(models: &std::path::Path, link: &std::path::Path) -> Result<()> {
    for model in models.read_dir()? {
        let model = model?;
        crate::shell::copy_files(&model.path(), &link.join(model.file_name()))?;
    }
    Ok(())
}
