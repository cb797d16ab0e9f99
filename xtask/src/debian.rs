//! Debian's packages: what is missing on a fresh machine of the kind that most checks run on.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::shell::{command, find, read, run};

/// Installs those of the Debian packages that are missing. `purpose` is for the sentence when that cannot be done.
pub fn install(packages: &[&str], purpose: &str) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if find("apt-get").is_none() || !is_root() {
        bail!("{purpose} is missing; on Debian, `apt-get install {list}` as root brings it");
    }
    println!("    installing {list}");
    let wait = ["-o", "DPkg::Lock::Timeout=300"]; // another apt-get may be at work on a machine that has just started
    let mut update = command("apt-get", wait);
    update.args(["-qq", "update"]);
    run(update).context("the package lists could not be fetched")?;
    let mut install = command("apt-get", wait);
    install.args(["-qq", "-y", "--no-install-recommends", "install"]).args(missing);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run(install).with_context(|| format!("{purpose} could not be installed"))
}

/// Whether this machine's own package manager is Debian's.
pub fn is_here() -> bool {
    Path::new("/etc/debian_version").exists() && find("apt-get").is_some()
}

fn is_installed(package: &str) -> bool {
    read(command("dpkg-query", ["-W", "-f", "${Status}", package])).is_ok_and(|status| status == "install ok installed")
}

fn is_root() -> bool {
    read(command("id", ["-u"])).is_ok_and(|user| user == "0")
}
