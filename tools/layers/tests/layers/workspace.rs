//! This workspace keeps the rules.

use std::path::{Path, PathBuf};

use phase_layers::{Circle, Workspace, dependencies, files, packages};

use crate::layers::LAYERS;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn workspace() -> Workspace {
    Workspace::load(&root()).unwrap()
}

fn listed(circles: &[Circle]) -> String {
    circles.iter().map(|circle| format!("{circle}\n\n")).collect()
}

#[test]
fn no_packages_depend_on_each_other() {
    let circles = packages::circles(&workspace());
    assert!(
        circles.is_empty(),
        "{} circles of packages; move what the lower one needs into a package below both:\n\n{}",
        circles.len(),
        listed(&circles)
    );
}

#[test]
fn every_package_uses_only_what_is_below_it() {
    let violations = packages::violations(&workspace(), LAYERS);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn no_files_of_a_crate_depend_on_each_other() {
    let circles = files::circles(&workspace()).unwrap();
    assert!(
        circles.is_empty(),
        "{} circles of files. Each line is an arrow: the first file takes these names from the second. Remove one arrow \
         of each circle: move the names into a file of their own below both, move the function that needs them up, or \
         pass the value as an argument.\n\n{}",
        circles.len(),
        listed(&circles)
    );
}

#[test]
fn every_dependency_is_used() {
    let unused = dependencies::unused(&workspace()).unwrap();
    assert!(unused.is_empty(), "{}", unused.join("\n"));
}

#[test]
fn the_document_lists_every_direct_dependency_and_no_other() {
    let text = std::fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let listed: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let workspace = workspace();
    let declared = dependencies::direct(&workspace);
    let missing: Vec<_> = declared.iter().filter(|name| !listed.contains(name)).collect();
    assert!(missing.is_empty(), "docs/dependencies.md says nothing of {missing:?}: add a row for each");
    let gone: Vec<_> = listed.iter().filter(|name| !declared.contains(*name)).collect();
    assert!(gone.is_empty(), "no package depends on {gone:?} any more: take the rows out of docs/dependencies.md");
    assert_eq!(listed.len(), declared.len(), "a dependency has two rows in docs/dependencies.md");
}

/// A path of the map is given from the root, from the first path of its row, or from a folder above that.
#[test]
fn every_path_of_the_map_exists() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let map = text.split("## Where to look").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let rows: Vec<&str> = map.lines().filter(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 50, "the map has only {} rows", rows.len());
    let missing: Vec<String> = rows.into_iter().flat_map(missing_paths).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names files that do not exist: {missing:?}");
}

fn missing_paths(row: &str) -> Vec<String> {
    let code = row.split('`').skip(1).step_by(2);
    let paths = code.filter(|text| text.ends_with(".rs") || text.ends_with(".md") || text.ends_with('/'));
    let mut folders = vec![root()];
    let mut missing = Vec::new();
    for path in paths {
        match folders.iter().find(|folder| folder.join(path).exists()) {
            None => missing.push(path.to_owned()),
            Some(_) if folders.len() > 1 => {}
            Some(_) => folders.extend(Path::new(path).ancestors().map(|folder| root().join(folder))),
        }
    }
    missing
}

/// Without it the first handshake of every process takes 80 ms of processor time: docs/design/transport.md.
#[test]
fn aws_lc_is_built_without_jitter_entropy() {
    assert_eq!(
        option_env!("AWS_LC_SYS_NO_JITTER_ENTROPY"),
        Some("1"),
        "the [env] of .cargo/config.toml is not in effect"
    );
}
