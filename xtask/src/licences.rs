//! `cargo xtask licences`: `docs/licences.md`, a list of every crate and npm package with its licence, and the texts that go
//! with the browser package. A test holds them against the lock files, cargo-deny the licences against `deny.toml`.
//!
//! cargo-about would write the texts too, but has to be compiled for minutes on every fresh machine.

mod texts;

use std::{collections::BTreeMap, fmt::Write, fs};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::shell::{command, read, root};

pub fn write() -> Result<()> {
    for (file, text) in files()? {
        fs::write(root().join(file), text).context(file)?;
    }
    Ok(())
}

fn files() -> Result<[(&'static str, String); 2]> {
    Ok([("docs/licences.md", list()?), ("pkg/THIRD-PARTY-LICENSES.txt", texts::all()?)])
}

/// The list is the same wherever it is written.
const PLATFORMS: [&str; 2] = ["x86_64-unknown-linux-gnu", "wasm32-unknown-unknown"];

/// Crates that say their licence in a file only, as it was read there.
const IN_A_FILE: [(&str, &str); 1] = [("cfg_block", "Apache-2.0")];

/// Names and versions under each licence.
type ByLicence = BTreeMap<String, Vec<String>>;

fn list() -> Result<String> {
    let mut text = String::from(
        "# Licences\n\n\
         Written by `cargo xtask licences` from the lock files: every crate that is compiled for Linux or WebAssembly (tests and\n\
         tools included) and every npm package. The browser package itself depends on no npm package. Art and weights: `NOTICE`.\n",
    );
    for (title, packages) in [("Crates", crates()?), ("npm packages, for building and testing only", npm_packages()?)] {
        write!(text, "\n## {title}\n\n| licence | packages |\n| --- | --- |\n")?;
        for (licence, names) in packages {
            writeln!(text, "| {licence} | {} |", names.join(", "))?;
        }
    }
    Ok(text)
}

fn metadata() -> Result<Value> {
    let mut metadata = command("cargo", ["metadata", "--format-version", "1", "--locked", "--all-features"]);
    for platform in PLATFORMS {
        metadata.args(["--filter-platform", platform]);
    }
    Ok(serde_json::from_str(&read(metadata)?)?)
}

fn crates() -> Result<ByLicence> {
    let metadata = metadata()?;
    let mut found = ByLicence::new();
    for package in metadata["packages"].as_array().context("cargo metadata lists packages")? {
        if package["source"].is_null() {
            continue; // our own
        }
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        // The old way to write OR.
        let mut licence = text("license").replace('/', " OR ").replace("  OR  ", " OR ");
        if let Some((_, read)) = IN_A_FILE.iter().find(|(name, _)| licence.is_empty() && *name == text("name")) {
            licence = (*read).to_owned();
        }
        found.entry(licence).or_default().push(format!("{} {}", text("name"), text("version")));
    }
    sorted(found)
}

fn npm_packages() -> Result<ByLicence> {
    let lock: Value = serde_json::from_str(&fs::read_to_string(root().join("package-lock.json"))?)?;
    let mut found = ByLicence::new();
    for (path, package) in lock["packages"].as_object().context("package-lock.json lists packages")? {
        // Our own workspaces lie elsewhere, or are links.
        let Some((_, name)) = path.rsplit_once("node_modules/").filter(|_| package["link"].is_null()) else { continue };
        let text = |key: &str| package[key].as_str().unwrap_or("not said").to_owned();
        found.entry(text("license")).or_default().push(format!("{name} {}", text("version")));
    }
    sorted(found)
}

fn sorted(mut found: ByLicence) -> Result<ByLicence> {
    ensure!(!found.is_empty(), "no package was found");
    for names in found.values_mut() {
        names.sort();
        names.dedup();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end with the error that it meets")]

    use super::*;

    #[test]
    fn the_files_are_those_of_the_lock_files() {
        for (file, text) in files().unwrap() {
            let written = fs::read_to_string(root().join(file)).unwrap();
            assert!(written == text, "`cargo xtask licences` puts {file} right");
        }
    }

    /// `deny.toml` asks the same of crates. What comes from elsewhere (a repository, an address) has no hash.
    #[test]
    fn every_npm_package_comes_from_its_registry_and_has_a_hash() {
        let lock: Value = serde_json::from_str(&fs::read_to_string(root().join("package-lock.json")).unwrap()).unwrap();
        let packages = lock["packages"].as_object().unwrap().iter();
        let foreign = packages.filter(|(path, package)| path.contains("node_modules/") && package["link"].is_null());
        let bare: Vec<_> = foreign.filter(|(_, package)| package["integrity"].is_null()).collect();
        assert!(bare.is_empty(), "{bare:?}");
    }
}
