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

/// Floors whose files are parts of one thing, as those of a folder inside a floor are; the files of `model`, `nn` and the
/// others stand each for themselves.
const ONE_THING: [&str; 4] = ["convert", "image", "kernels", "text"];

/// In lines.
const LONGEST: usize = 500;
/// Where people write source, and in what.
const WRITTEN: [&str; 6] = ["src/", "tests/", "xtask/", "pkg/src/", "www/src/", "training/"];
const LANGUAGES: [&str; 6] = ["rs", "wgsl", "ts", "js", "mjs", "py"];

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
        let (from_path, from) = (&modules[from].path, from);
        let is_whole = move |to: usize| from_path.starts_with(&modules[to].path);
        let is_part = move |to: usize| folder_of(from_path) == folder_of(&modules[to].path) && is_one_thing(from_path);
        imports[from].iter().copied().filter(move |&to| !is_whole(to) && !is_part(to))
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

fn folder_of(path: &[String]) -> &[String] {
    path.split_last().map_or(&[], |(_, folder)| folder)
}

/// Whether the files of a module's folder are parts of one thing, which may know each other.
fn is_one_thing(path: &[String]) -> bool {
    folder_of(path).first().is_some_and(|floor| folder_of(path).len() > 1 || ONE_THING.contains(&floor.as_str()))
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
