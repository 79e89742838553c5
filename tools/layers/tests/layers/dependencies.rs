//! The rule that the code must name every declared dependency.

use phase_layers::{Workspace, dependencies};

use crate::fixture::folder;

/// Returns the messages of the check for a package `user` with these files, and with `manifest` in its `Cargo.toml`.
/// The workspace also has a package `a-helper`, on which `user` may depend.
fn unused(manifest: &str, files: &[(&str, &str)]) -> Vec<String> {
    let package = |name, rest| format!("[package]\nname = {name:?}\nversion = \"0.1.0\"\nedition = \"2024\"\n{rest}");
    let (user, helper) = (package("user", manifest), package("a-helper", ""));
    let mut all = vec![
        ("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"user\", \"a-helper\"]\n"),
        ("user/Cargo.toml", &user),
        ("a-helper/Cargo.toml", &helper),
        ("a-helper/src/lib.rs", ""),
    ];
    all.extend(files);
    let folder = folder(&all);
    dependencies::unused(&Workspace::load(folder.path()).unwrap()).unwrap()
}

const NORMAL: &str = "[dependencies]\na-helper = { path = \"../a-helper\" }\n";
const DEV: &str = "[dev-dependencies]\na-helper = { path = \"../a-helper\" }\n";

#[test]
fn a_dependency_that_no_code_names_is_reported() {
    let lib = ("user/src/lib.rs", "/// See a_helper::X.\npub fn a() -> &'static str { \"a_helper\" }");
    assert_eq!(
        unused(NORMAL, &[lib]),
        ["user does not use a-helper, which is in [dependencies] of its Cargo.toml: remove it, or move it to the \
          section of the code that uses it"]
    );
    assert_eq!(unused(DEV, &[lib]).len(), 1);
}

#[test]
fn every_way_to_name_a_dependency_counts() {
    for code in [
        "use a_helper::X;",
        "use a_helper as other;",
        "fn f() { a_helper::f() }",
        "fn f() { println!(\"{}\", a_helper::X) }",
        "#[derive(a_helper::X)] struct A;",
        "mod deep { pub use a_helper::*; }",
    ] {
        assert_eq!(unused(NORMAL, &[("user/src/lib.rs", code)]), Vec::<String>::new(), "{code}");
    }
}

#[test]
fn a_dependency_that_only_tests_name_must_be_a_dev_dependency() {
    let lib = ("user/src/lib.rs", "#[cfg(test)] mod tests { use a_helper::X; }");
    assert_eq!(unused(NORMAL, &[lib]).len(), 1);
    assert_eq!(unused(DEV, &[lib]), Vec::<String>::new());
    let (lib, test) = (("user/src/lib.rs", ""), ("user/tests/promise.rs", "use a_helper::X;"));
    assert_eq!(unused(NORMAL, &[lib, test]).len(), 1);
    assert_eq!(unused(DEV, &[lib, test]), Vec::<String>::new());
}

#[test]
fn examples_in_doc_comments_count_as_tests() {
    let lib = ("user/src/lib.rs", "//! Does what a_helper::x does.\n//!\n//! ```\n//! # use a_helper::X;\n//! ```");
    assert_eq!(unused(NORMAL, &[lib]).len(), 1);
    assert_eq!(unused(DEV, &[lib]), Vec::<String>::new());
}

#[test]
fn a_dependency_may_have_another_name_in_the_code() {
    let renamed = "[dependencies]\nother = { path = \"../a-helper\", package = \"a-helper\" }\n";
    assert_eq!(unused(renamed, &[("user/src/lib.rs", "use other::X;")]), Vec::<String>::new());
    assert_eq!(unused(renamed, &[("user/src/lib.rs", "use a_helper::X;")]).len(), 1);
}
