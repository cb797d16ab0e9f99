//! Node's part: packages, and the scripts of package.json.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::shell::{command, read, root, run};

/// What Vite asks for.
const OLDEST_NODE: (u32, u32) = (20, 19);

/// Installs the packages of the npm package, the page and their tests, unless they are there.
pub fn install() -> Result<()> {
    install_in(root())
}

/// Runs a script of the root's package.json.
pub fn script(name: &str) -> Command {
    command("npm", ["run", "--silent", name])
}

pub fn install_in(folder: &Path) -> Result<()> {
    check_node()?;
    let wanted = folder.join("package-lock.json");
    let installed = folder.join("node_modules/.package-lock.json");
    if modified(&installed)? >= modified(&wanted)? {
        return Ok(());
    }
    let mut ci = command("npm", ["ci", "--no-audit", "--no-fund"]);
    ci.current_dir(folder);
    run(ci).context("the npm packages could not be installed; the npm registry must be reachable")
}

fn check_node() -> Result<()> {
    let version =
        read(command("node", ["--version"])).context("Node 20.19 or newer is needed, from https://nodejs.org")?;
    let mut numbers = version.trim_start_matches('v').split('.').map_while(|number| number.parse().ok());
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if (major, minor) < OLDEST_NODE {
        bail!("Node {version} is too old; install 20.19 or newer from https://nodejs.org");
    }
    Ok(())
}

/// When a file was last written; nothing for a file that does not exist, which is older than any other.
fn modified(file: &Path) -> Result<Option<std::time::SystemTime>> {
    Ok(if file.exists() { Some(file.metadata()?.modified()?) } else { None })
}
