//! Which file of a crate names which other one: read from the tokens of the source, so that comments and strings do not
//! count and the insides of macros do.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A file of a crate.
pub struct Module {
    pub file: String,
    /// `["kernels", "simd"]` for `crate::kernels::simd`; empty for `lib.rs` or `main.rs`.
    pub path: Vec<String>,
    pub source: String,
}

/// For each module, by its place in the list, those that it imports.
pub type Imports = Vec<BTreeSet<usize>>;

type ModulePath = Vec<String>;

pub fn read(modules: &[Module]) -> Result<Imports> {
    let places: BTreeMap<&[String], usize> =
        modules.iter().enumerate().map(|(at, module)| (module.path.as_slice(), at)).collect();
    let named = modules.iter().map(|module| names(module, &places)).collect::<Result<Vec<_>>>()?;
    let root = *places.get(&[][..]).context("a crate has a lib.rs or main.rs")?;
    let exported: BTreeMap<&String, &ModulePath> =
        named[root].iter().filter_map(|path| Some((path.last()?, path))).collect();

    let mut imports = Imports::new();
    for (at, paths) in named.iter().enumerate() {
        let targets = paths.iter().map(|path| resolve(path, &places, &exported));
        imports.push(targets.filter(|target| *target != at).collect());
    }
    Ok(imports)
}

/// The module that a path lies in. `crate::Error` lies where the root takes it from.
fn resolve(path: &[String], places: &BTreeMap<&[String], usize>, exported: &BTreeMap<&String, &ModulePath>) -> usize {
    let path = match path {
        [first, ..] if !places.contains_key(&path[..1]) => exported.get(first).map_or(path, |exported| exported),
        _ => path,
    };
    let mut prefixes = (0..=path.len()).rev().map(|length| &path[..length]);
    prefixes.find_map(|prefix| places.get(prefix).copied()).expect("the root is a prefix of every path")
}

/// Every path of this crate that a file names, from the root on.
fn names(module: &Module, places: &BTreeMap<&[String], usize>) -> Result<BTreeSet<ModulePath>> {
    let tokens: TokenStream =
        module.source.parse().map_err(|error| anyhow!("{} cannot be read: {error}", module.file))?;
    let mut scan = Scan { places, found: BTreeSet::new() };
    scan.items(&module.path, tokens);
    Ok(scan.found)
}

struct Scan<'a> {
    places: &'a BTreeMap<&'a [String], usize>,
    found: BTreeSet<ModulePath>,
}

impl Scan<'_> {
    /// Finds the paths in a stretch of source that stands in module `here`.
    fn items(&mut self, here: &[String], tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = match &tokens[at..] {
                [TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Group(body), ..] if word == "mod" => {
                    self.items(&child(here, &name.to_string()), body.stream());
                    at + 3
                }
                [TokenTree::Group(group), ..] => {
                    self.items(here, group.stream());
                    at + 1
                }
                [TokenTree::Ident(first), ..] if begins_path(&tokens, at) => {
                    match self.start(here, &first.to_string()) {
                        Some(start) => self.path(&tokens, at + 1, start),
                        None => at + 1,
                    }
                }
                _ => at + 1,
            };
        }
    }

    /// The module that the first word of a path means, unless the path leads into another crate.
    fn start(&self, here: &[String], first: &str) -> Option<ModulePath> {
        match first {
            "crate" => Some(Vec::new()),
            "self" => Some(here.to_vec()),
            "super" => Some(parent(here)),
            _ => Some(child(here, first)).filter(|path| self.places.contains_key(path.as_slice())),
        }
    }

    /// Notes what the rest of a path names, with all branches of `{...}`, and returns where it ends.
    fn path(&mut self, tokens: &[TokenTree], mut at: usize, mut path: ModulePath) -> usize {
        while is_separator(tokens, at) {
            match tokens.get(at + 2) {
                Some(TokenTree::Ident(word)) => path = step(&path, &word.to_string()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    self.branches(group.stream(), &path);
                    return at + 3;
                }
                _ => break, // `*`, or generic arguments
            }
            at += 3;
        }
        self.found.insert(path);
        at
    }

    fn branches(&mut self, group: TokenStream, path: &[String]) {
        let tokens: Vec<TokenTree> = group.into_iter().collect();
        for branch in tokens.split(|token| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ',')) {
            match branch.first() {
                Some(TokenTree::Ident(word)) => {
                    self.path(branch, 1, step(path, &word.to_string()));
                }
                Some(_) => drop(self.found.insert(path.to_vec())), // `*`
                None => {}
            }
        }
    }
}

fn begins_path(tokens: &[TokenTree], at: usize) -> bool {
    is_separator(tokens, at + 1) && !(at >= 2 && is_separator(tokens, at - 2))
}

fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    let is_colon = |at| matches!(tokens.get(at), Some(TokenTree::Punct(colon)) if colon.as_char() == ':');
    is_colon(at) && is_colon(at + 1)
}

fn step(path: &[String], word: &str) -> ModulePath {
    match word {
        "self" => path.to_vec(),
        "super" => parent(path),
        _ => child(path, word),
    }
}

fn child(path: &[String], name: &str) -> ModulePath {
    [path, &[name.to_owned()]].concat()
}

fn parent(path: &[String]) -> ModulePath {
    path[..path.len().saturating_sub(1)].to_vec()
}
