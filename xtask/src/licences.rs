//! `cargo xtask licences`: `docs/licences.md`, a list of every crate and npm package with its licence. A test holds the list
//! against the lock files and the licences against `deny.toml`.

use std::{collections::BTreeMap, fmt::Write, fs};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::shell::{command, read, root};

const LIST: &str = "docs/licences.md";

pub fn write() -> Result<()> {
    fs::write(root().join(LIST), list()?).context(LIST)
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

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_list_is_that_of_the_lock_files() {
        let written = fs::read_to_string(root().join(LIST)).unwrap();
        assert!(written == list().unwrap(), "`cargo xtask licences` puts {LIST} right");
    }

    #[test]
    fn every_crate_has_a_licence_that_deny_toml_allows() {
        let deny = fs::read_to_string(root().join("deny.toml")).unwrap();
        let (_, rest) = deny.split_once("allow = [").unwrap();
        let (allowed, _) = rest.split_once(']').unwrap();
        let allowed: Vec<&str> = allowed.split('"').skip(1).step_by(2).collect();
        assert!(allowed.contains(&"MIT"), "{allowed:?}");
        for (licence, names) in crates().unwrap() {
            let expression = spdx::Expression::parse(&licence).unwrap_or_else(|error| panic!("{names:?}: {error}"));
            let is_allowed = |requirement: &spdx::LicenseReq| allowed.contains(&requirement.to_string().as_str());
            assert!(expression.evaluate(is_allowed), "{licence}: {names:?}");
        }
    }

    /// `[sources]` of `deny.toml`, and the same for npm: nothing but registries, and the hash of all that comes from them.
    #[test]
    fn every_package_comes_from_its_registry_and_has_a_hash() {
        let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
        let line = |package: &str, key: &str| package.lines().find(|line| line.starts_with(key)).map(str::to_owned);
        let crates: Vec<&str> = lock.split("[[package]]").filter(|package| line(package, "source").is_some()).collect();
        let sources: BTreeSet<_> = crates.iter().filter_map(|package| line(package, "source")).collect();
        assert!(sources.len() == 1 && sources.iter().all(|source| source.contains("\"registry+")), "{sources:?}");
        let bare: Vec<_> = crates.iter().filter(|package| line(package, "checksum").is_none()).collect();
        assert!(crates.len() > 100 && bare.is_empty(), "{bare:?}");

        let lock: Value = serde_json::from_str(&fs::read_to_string(root().join("package-lock.json")).unwrap()).unwrap();
        let packages = lock["packages"].as_object().unwrap().iter();
        let foreign = packages.filter(|(path, package)| path.contains("node_modules/") && package["link"].is_null());
        // What comes from elsewhere (a repository, an address) has none.
        let bare: Vec<_> = foreign.filter(|(_, package)| package["integrity"].is_null()).collect();
        assert!(bare.is_empty(), "{bare:?}");
    }

    /// `[bans]` of `deny.toml`.
    #[test]
    fn no_version_is_left_open() {
        let metadata = metadata().unwrap();
        let ours = metadata["packages"].as_array().unwrap().iter().filter(|package| package["source"].is_null());
        let wanted: Vec<&Value> = ours.flat_map(|package| package["dependencies"].as_array().unwrap()).collect();
        let open: Vec<_> = wanted.iter().filter(|wanted| wanted["req"] == "*").map(|wanted| &wanted["name"]).collect();
        assert!(wanted.len() > 20 && open.is_empty(), "{open:?}");
    }
}
