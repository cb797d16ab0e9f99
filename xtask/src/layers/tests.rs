//! The checks on small made-up crates.

#![allow(clippy::unwrap_used, reason = "a test may end with the error that it meets")]

use super::*;

fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(file, source)| ((*file).to_owned(), (*source).to_owned())).collect()
}

/// What the crate of these files does wrong, as `high` above `low`.
fn problems(list: &[(&str, &str)]) -> Vec<String> {
    let modules = modules(&files(list), "src/lib.rs", "src/");
    let imports = imports::read(&modules).unwrap();
    let mut problems = upward(&modules, &imports, &[("low", &[]), ("middle", &["low"]), ("high", &["low", "middle"])]);
    problems.extend(circles(&modules, &imports));
    problems
}

const UPWARD: &str = "src/low.rs must not import src/high.rs, which is not below it";

#[test]
fn a_file_imports_what_is_below() {
    let low = ("src/low.rs", "//! Unlike [`crate::high`].\nfn f() { let _ = \"crate::high\"; }");
    let high = ("src/high/mod.rs", "use crate::low::f; mod part;");
    let part = ("src/high/part.rs", "use super::g; use crate::{low, high::g as h};");
    assert_eq!(problems(&[("src/lib.rs", "pub use high::g;"), low, high, part]), [""; 0]);
}

#[test]
fn a_file_that_imports_what_is_above_is_found_however_it_is_written() {
    for low in [
        "use crate::high::g;",
        "use crate::{high::{self, g}};",
        "use crate::*; fn f() { if true { crate::high::g::<u8>() } }",
        "use super::high::*;",
        "fn f() { println!(\"{}\", crate::high::g()); }",
        "mod tests { use super::super::high::g; }",
        "use crate::g;", // through the facade
    ] {
        let found = problems(&[("src/lib.rs", "pub use high::g;"), ("src/low.rs", low), ("src/high.rs", "")]);
        assert!(found.iter().any(|problem| problem == UPWARD), "{low}: {found:?}");
    }
}

#[test]
fn a_file_on_no_floor_is_found() {
    let found = problems(&[("src/lib.rs", ""), ("src/attic.rs", "")]);
    assert_eq!(found, ["src/attic.rs is on no floor of xtask/src/layers.rs"]);
}

#[test]
fn the_facade_itself_is_above_all() {
    let found = problems(&[("src/lib.rs", "macro_rules! m { () => {} }"), ("src/high.rs", "crate::m!();")]);
    assert_eq!(found, ["src/high.rs must not import src/lib.rs, which is not below it"]);
}

#[test]
fn a_circle_is_found_and_told_in_order() {
    let parts = [
        ("src/lib.rs", ""),
        ("src/low/mod.rs", "mod a; mod b; mod c; pub fn shared() {}"),
        ("src/low/a.rs", "use super::{b::f, shared};"),
        ("src/low/b.rs", "use crate::low::c;"),
        ("src/low/c.rs", "use super::a::g;"),
    ];
    let circle = "imports in a circle: src/low/a.rs -> src/low/b.rs -> src/low/c.rs -> src/low/a.rs";
    assert_eq!(problems(&parts), [circle]);
}

#[test]
fn a_circle_through_a_module_that_hands_on_its_parts_is_found() {
    let parts = [
        ("src/lib.rs", ""),
        ("src/low/mod.rs", ""),
        ("src/low/a.rs", "use super::b::f;"),
        ("src/low/b/mod.rs", "mod part; pub use part::f;"),
        ("src/low/b/part.rs", "use crate::low::a::g; use super::own;"),
    ];
    let circle = "imports in a circle: src/low/a.rs -> src/low/b/mod.rs -> src/low/b/part.rs -> src/low/a.rs";
    assert_eq!(problems(&parts), [circle]);
}

#[test]
fn a_long_file_is_found() {
    let long = "\n".repeat(LONGEST + 1);
    let found = overlong(&files(&[("src/short.rs", &long[1..]), ("src/long.rs", &long)]));
    assert_eq!(found, ["src/long.rs has 501 lines; split it, 500 are the most"]);
}
