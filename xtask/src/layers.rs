//! `cargo xtask test layers`: the floors of `src/` look down only, files do not import each other in circles, and none is
//! too long to read.

mod imports;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry},
    fs,
};

use anyhow::{Context, Result, bail};

use crate::shell::{command, read, root};
use imports::{Imports, Module};

/// Each folder or file at the root of `src/`, and those that it may import. `lib.rs`, the facade, is free.
const FLOORS: [(&str, &[&str]); 12] = [
    ("error", &[]),
    ("limits", &[]),
    ("formats", &["error", "limits"]),
    ("kernels", &["error", "limits", "formats"]),
    ("runtime", &["error", "limits", "formats", "kernels"]),
    ("image", &["error", "limits"]),
    ("text", &["error", "limits", "formats"]),
    ("nn", &["error", "limits", "formats", "kernels"]),
    ("model", &["error", "limits", "formats", "kernels", "runtime", "image", "text", "nn"]),
    ("tasks", &["error", "limits", "formats", "image", "text", "model"]),
    ("convert", &["error", "limits", "formats", "image", "text", "nn", "model"]),
    ("web", &["error", "limits", "formats", "kernels", "runtime", "image", "text", "nn", "model", "tasks"]),
];

/// The root file of each crate, and the folder that its modules lie in.
const CRATES: [(&str, &str); 3] =
    [("src/lib.rs", "src/"), ("src/bin/setokim/main.rs", "src/bin/setokim/"), ("xtask/src/main.rs", "xtask/src/")];

/// In lines.
const LONGEST: usize = 500;
/// Where people write source, and in what.
const WRITTEN: [&str; 6] = ["src/", "xtask/", "tests/", "pkg/src/", "www/src/", "training/"];
const LANGUAGES: [&str; 7] = ["rs", "wgsl", "ts", "js", "mjs", "css", "py"];

pub fn check() -> Result<()> {
    let files = source_files()?;
    let mut problems = overlong(&files);
    for (root_file, folder) in CRATES {
        let modules = modules(&files, root_file, folder);
        let imports = imports::read(&modules)?;
        if folder == "src/" {
            problems.extend(upward(&modules, &imports, &FLOORS));
        }
        problems.extend(circles(&modules, &imports));
    }
    if problems.is_empty() { Ok(()) } else { bail!("{}", problems.join("\n")) }
}

/// Name and text of each source file that git tracks or would.
fn source_files() -> Result<BTreeMap<String, String>> {
    let list = read(command("git", ["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let is_source = |file: &&str| {
        let is_written = WRITTEN.iter().any(|folder| file.starts_with(folder));
        is_written && file.rsplit_once('.').is_some_and(|(_, language)| LANGUAGES.contains(&language))
    };
    // What was deleted is listed until the next commit.
    let there = list.lines().filter(is_source).filter(|file| root().join(file).is_file());
    there.map(|file| Ok((file.to_owned(), fs::read_to_string(root().join(file)).context(file.to_owned())?))).collect()
}

fn overlong(files: &BTreeMap<String, String>) -> Vec<String> {
    let lengths = files.iter().map(|(file, text)| (file, text.lines().count()));
    let long = lengths.filter(|(_, lines)| *lines > LONGEST);
    long.map(|(file, lines)| format!("{file} has {lines} lines; split it, {LONGEST} are the most")).collect()
}

/// The files of one crate. Those of another crate in a folder below (`src/bin`) are left out.
fn modules(files: &BTreeMap<String, String>, root_file: &str, folder: &str) -> Vec<Module> {
    let is_nested = |file: &str| CRATES.iter().any(|(_, other)| other.len() > folder.len() && file.starts_with(other));
    let inside = files.iter().filter(|(file, _)| file.starts_with(folder) && file.ends_with(".rs") && !is_nested(file));
    let module = |(file, source): (&String, &String)| {
        let name = file.trim_start_matches(folder).trim_end_matches(".rs").trim_end_matches("/mod");
        let path = if file == root_file { Vec::new() } else { name.split('/').map(str::to_owned).collect() };
        Module { file: file.clone(), path, source: source.clone() }
    };
    inside.map(module).collect()
}

/// Imports of what is not below.
fn upward(modules: &[Module], imports: &Imports, floors: &[(&str, &[&str])]) -> Vec<String> {
    let mut problems = Vec::new();
    for (module, targets) in modules.iter().zip(imports) {
        let Some(floor) = module.path.first() else { continue };
        let Some((_, below)) = floors.iter().find(|(name, _)| name == floor) else {
            problems.push(format!("{} is on no floor of xtask/src/layers.rs", module.file));
            continue;
        };
        for target in targets.iter().map(|target| &modules[*target]) {
            let is_allowed = target.path.first().is_some_and(|to| to == floor || below.contains(&to.as_str()));
            if !is_allowed {
                problems.push(format!("{} must not import {}, which is not below it", module.file, target.file));
            }
        }
    }
    problems
}

/// Files that import each other, one circle for each file at most. What a module's part takes from the module itself
/// does not count: they are one thing in several files.
fn circles(modules: &[Module], imports: &Imports) -> Vec<String> {
    let outward = |from: usize| {
        imports[from].iter().copied().filter(move |to| !modules[from].path.starts_with(&modules[*to].path))
    };
    let mut problems = Vec::new();
    let mut known = BTreeSet::new();
    for start in 0..modules.len() {
        if known.contains(&start) {
            continue;
        }
        if let Some(circle) = shortest_circle(start, outward) {
            let names: Vec<&str> = circle.iter().map(|at| modules[*at].file.as_str()).collect();
            problems.push(format!("imports in a circle: {} -> {}", names.join(" -> "), names[0]));
            known.extend(circle);
        }
    }
    problems
}

/// The files on a shortest way from `start` back to it, in order.
fn shortest_circle<I: Iterator<Item = usize>>(start: usize, imports: impl Fn(usize) -> I) -> Option<Vec<usize>> {
    let mut came_from = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for next in imports(at) {
            if next == start {
                let back = std::iter::successors(Some(at), |at| came_from.get(at).copied());
                let mut circle: Vec<usize> = back.collect();
                circle.reverse();
                return Some(circle);
            }
            if let Entry::Vacant(unseen) = came_from.entry(next) {
                unseen.insert(at);
                queue.push_back(next);
            }
        }
    }
    None
}
