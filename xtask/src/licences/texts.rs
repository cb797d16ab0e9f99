//! `pkg/THIRD-PARTY-LICENSES.txt`: the licence texts of all crates whose code is in the WebAssembly file.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;

use super::metadata;
use crate::{
    shell::{command, read, root},
    wasm,
};

/// Taken wherever a crate offers it, so that one text serves most of them.
const PREFERRED: &str = "Apache-2.0";

/// A crate, and the texts that must go with its code.
struct Linked {
    name: String,
    licence: String,
    texts: Vec<String>,
}

pub fn all() -> Result<String> {
    let crates = linked()?;
    let mut users: BTreeMap<String, Vec<&Linked>> = BTreeMap::new();
    for linked in &crates {
        for text in &linked.texts {
            users.entry(text.clone()).or_default().push(linked);
        }
    }
    let mut file = String::from(
        "The WebAssembly file of this package contains code of the following crates, all of them published on crates.io with their\n\
         sources, and of the Rust standard library (MIT OR Apache-2.0). Where a crate offers a choice that has the Apache License 2.0\n\
         in it, it is used under that. Written by `cargo xtask licences`.\n",
    );
    let mut sections: Vec<(String, &Vec<&Linked>)> = users.iter().map(|(text, users)| (text.clone(), users)).collect();
    sections.sort_by_key(|(_, users)| std::cmp::Reverse(users.len()));
    let line = "=".repeat(80);
    for (text, users) in sections {
        writeln!(file, "\n{line}")?;
        for linked in users {
            writeln!(file, "{} ({})", linked.name, linked.licence)?;
        }
        writeln!(file, "{line}\n\n{text}")?;
    }
    Ok(file)
}

fn linked() -> Result<Vec<Linked>> {
    let mut tree = command("cargo", ["tree", "--locked", "--package", "setokim", "--no-default-features"]);
    tree.args(["--target", wasm::TARGET, "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"]);
    let tree = read(tree)?;
    // `name v1.2.3`, and for some more behind it.
    let mut names: Vec<String> =
        tree.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    names.sort();
    names.dedup();

    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    let known: BTreeMap<String, &Value> = packages
        .iter()
        .filter(|package| !package["source"].is_null()) // our own is the package itself
        .map(|package| (format!("{} v{}", text(package, "name"), text(package, "version")), package))
        .collect();
    let mut crates = Vec::new();
    for (name, package) in names.into_iter().filter_map(|name| Some((name.clone(), *known.get(&name)?))) {
        let licence = text(package, "license").replace('/', " OR ");
        let folder = Path::new(package["manifest_path"].as_str().unwrap_or_default()).parent();
        let texts = texts(folder.context("a crate lies in a folder")?, &licence).with_context(|| name.clone())?;
        crates.push(Linked { name, licence, texts });
    }
    lend_texts(&mut crates)?;
    Ok(crates)
}

fn texts(folder: &Path, licence: &str) -> Result<Vec<String>> {
    let is_preferred = licence.split(" OR ").any(|choice| choice == PREFERRED);
    // What must go along with the Apache License are a crate's notices.
    let kinds: &[&str] =
        if is_preferred { &["notice"] } else { &["licen", "copying", "unlicense", "copyright", "notice"] };
    let mut texts = Vec::new();
    if is_preferred {
        texts.push(fs::read_to_string(root().join("LICENSE"))?.trim().to_owned());
    }
    for entry in folder.read_dir()? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if entry.file_type()?.is_file() && kinds.iter().any(|kind| name.starts_with(kind)) {
            let text = fs::read_to_string(entry.path())?;
            // As it is, but for the spaces at the ends of lines, in which copies of one text differ.
            texts.push(text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_owned());
        }
    }
    Ok(texts)
}

/// Gives a crate that came without a text the one of another crate under the same licence.
fn lend_texts(crates: &mut [Linked]) -> Result<()> {
    for at in 0..crates.len() {
        if crates[at].texts.is_empty() {
            let (name, licence) = (&crates[at].name, &crates[at].licence);
            let stem = name.split(['-', ' ']).next();
            let same = || crates.iter().filter(|other| other.licence == *licence && !other.texts.is_empty());
            // Best of the same authors.
            let related = same().find(|other| other.name.split(['-', ' ']).next() == stem);
            let lender = related.or_else(|| same().next()).with_context(|| format!("{name}: no text of {licence}"))?;
            crates[at].texts = lender.texts.clone();
        }
    }
    Ok(())
}

fn text(package: &Value, key: &str) -> String {
    package[key].as_str().unwrap_or_default().to_owned()
}
