//! The rules for arrows and cycles between the files of one crate.

use phase_layers::files::CrateArrows;

use crate::fixture::folder;

/// Reads a library that consists of these files, each given as path and text. The root file is `lib.rs`.
fn read(files: &[(&str, &str)]) -> CrateArrows {
    let folder = folder(files);
    CrateArrows::read(&folder.path().join("lib.rs"), folder.path()).unwrap()
}

/// Returns each arrow between files as "from -> to: names".
fn lines(files: &[(&str, &str)]) -> Vec<String> {
    let line = |(from, to, names): (&str, &str, &std::collections::BTreeSet<String>)| {
        format!("{from} -> {to}: {}", names.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
    };
    read(files).files.iter().map(line).collect()
}

#[test]
fn two_files_that_name_each_other_are_a_cycle() {
    let arrows = read(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "pub struct B; impl B { fn a() -> super::a::A { todo!() } }"),
    ]);
    let cycles = arrows.cycles();
    assert_eq!(cycles.len(), 1);
    assert_eq!(cycles[0].to_string(), "cycle of 2: a.rs, b.rs\n  a.rs -> b.rs: B\n  b.rs -> a.rs: A");
}

#[test]
fn a_parent_and_its_child_are_a_cycle_if_each_names_the_other() {
    let arrows = read(&[
        ("lib.rs", "mod a;"),
        ("a.rs", "mod child; pub struct A; fn f() { child::run() }"),
        ("a/child.rs", "use super::A; pub fn run() -> A { A }"),
    ]);
    assert_eq!(arrows.cycles().len(), 1);
}

#[test]
fn modules_that_name_each_other_are_a_cycle_even_if_no_two_files_do() {
    let mut files = vec![
        ("lib.rs", "mod import; mod store;"),
        ("import.rs", "use crate::store::StoreError; pub struct Options;"),
        ("store.rs", "mod error; mod file; pub use error::StoreError;"),
        ("store/error.rs", "pub struct StoreError;"),
        ("store/file.rs", "use crate::import::Options;"),
    ];
    let cycles = read(&files).cycles();
    assert_eq!(cycles.len(), 1);
    assert_eq!(
        cycles[0].to_string(),
        "cycle of 2: import.rs, store.rs\n  import.rs -> store.rs: StoreError\n  store.rs -> import.rs: Options"
    );
    files[4].1 = "";
    assert!(read(&files).cycles().is_empty());
}

#[test]
fn a_cycle_of_files_is_not_reported_again_as_a_cycle_of_modules() {
    let cycles = read(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "mod deep; use crate::a::A; pub struct B;"),
        ("b/deep.rs", "use crate::a::A;"),
    ])
    .cycles();
    assert_eq!(cycles.len(), 1);
}

#[test]
fn a_re_export_is_followed_to_the_definition_and_adds_no_arrow() {
    let files = [
        ("lib.rs", "mod a; mod b; pub use a::A; pub const LIMIT: u8 = 1;"),
        ("a.rs", "mod deep; pub use deep::A; pub use deep::*; fn f() { crate::LIMIT; }"),
        ("a/deep.rs", "pub struct A; pub struct Other;"),
        ("b.rs", "use crate::A; use crate::a::Other;"),
    ];
    assert_eq!(lines(&files), ["a.rs -> lib.rs: LIMIT", "b.rs -> a/deep.rs: A, Other"]);
}

#[test]
fn a_file_that_uses_an_item_it_re_exports_has_an_arrow() {
    let files = [("lib.rs", "mod a; pub use a::A; fn f() -> A { A }"), ("a.rs", "pub struct A;")];
    assert_eq!(lines(&files), ["lib.rs -> a.rs: A"]);
}

#[test]
fn paths_are_followed_through_modules_aliases_and_globs() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d; mod e;"),
        ("a.rs", "pub fn one() {} pub enum Kind { Two }"),
        ("b.rs", "use crate::a; fn f() { a::one() }"),
        ("c.rs", "use crate::a as other; fn f() { other::Kind::Two; }"),
        ("d.rs", "use super::a::*; fn f() { one() }"),
        ("e.rs", "use crate::a::Kind::Two; fn f() { info!(\"{}\", crate::a::one()); Two; }"),
    ];
    assert_eq!(
        lines(&files),
        ["b.rs -> a.rs: one", "c.rs -> a.rs: Kind", "d.rs -> a.rs: one", "e.rs -> a.rs: Kind, one"]
    );
}

#[test]
fn naming_only_a_module_or_an_item_of_another_crate_adds_no_arrow() {
    let files = [
        ("lib.rs", "mod a; mod io; pub(crate) use std::fmt;"),
        ("a.rs", "use crate::io; use crate::fmt::Debug; use std::io::Read; pub(in crate::io) fn f() {}"),
        ("io.rs", ""),
    ];
    assert_eq!(lines(&files), Vec::<String>::new());
}

#[test]
fn an_item_that_a_macro_defines_is_attributed_to_the_module_of_its_path() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "macro_rules! id { ($n:ident) => { pub struct $n; } } id!(Made);"),
        ("b.rs", "use crate::a::Made;"),
    ];
    assert_eq!(lines(&files), ["b.rs -> a.rs: Made"]);
}

#[test]
fn code_for_tests_adds_no_arrows() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "#[cfg(test)] mod tests; #[cfg(test)] mod more { use crate::b::B; } pub struct A;"),
        ("a/tests.rs", "use crate::b::B;"),
        ("b.rs", "pub struct B; impl B { #[cfg(test)] fn f() -> crate::a::A { todo!() } }"),
    ];
    assert_eq!(lines(&files), Vec::<String>::new());
}

#[test]
fn modules_are_found_in_folders_and_by_attribute() {
    let files = [
        ("lib.rs", "mod a; #[path = \"elsewhere/file.rs\"] mod b; mod inline { pub mod c; }"),
        ("a/mod.rs", "use crate::b::B; use crate::inline::c::C; mod below;"),
        ("a/below.rs", "use crate::b::nested::N;"),
        ("elsewhere/file.rs", "pub struct B; pub mod nested;"),
        ("elsewhere/nested.rs", "pub struct N;"),
        ("inline/c.rs", "pub struct C;"),
    ];
    assert_eq!(
        lines(&files),
        ["a/below.rs -> elsewhere/nested.rs: N", "a/mod.rs -> elsewhere/file.rs: B", "a/mod.rs -> inline/c.rs: C"]
    );
}

#[test]
fn the_error_for_a_missing_module_file_names_the_paths_that_were_tried() {
    let folder = folder(&[("lib.rs", "mod gone;")]);
    let error = CrateArrows::read(&folder.path().join("lib.rs"), folder.path()).unwrap_err().to_string();
    assert!(error.starts_with("`mod gone;` in "), "{error}");
    assert!(error.contains("gone.rs") && error.contains("gone/mod.rs"), "{error}");
}
