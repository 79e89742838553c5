//! Tests that Phase's own workspace follows the rules.

use std::path::{Path, PathBuf};

use phase_layers::{Cycle, Workspace, dependencies, files, packages};

use crate::layers::LAYERS;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn workspace() -> Workspace {
    Workspace::load(&root()).unwrap()
}

fn listed(cycles: &[Cycle]) -> String {
    cycles.iter().map(|cycle| format!("{cycle}\n\n")).collect()
}

#[test]
fn the_packages_of_this_workspace_have_no_cycle() {
    let cycles = packages::cycles(&workspace());
    assert!(
        cycles.is_empty(),
        "the packages have cycles. Move the code that the lower package needs into a package below both:\n\n{}",
        listed(&cycles)
    );
}

#[test]
fn every_package_uses_only_packages_that_the_table_permits() {
    let violations = packages::violations(&workspace(), LAYERS);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn the_files_of_each_crate_have_no_cycle() {
    let cycles = files::cycles(&workspace()).unwrap();
    assert!(
        cycles.is_empty(),
        "the files have cycles. Each line is an arrow: the first file takes these names from the second. Remove one \
         arrow of each cycle: move the names into a new file below both, move the function that needs them up, or pass \
         the value as an argument.\n\n{}",
        listed(&cycles)
    );
}

#[test]
fn the_code_names_every_declared_dependency() {
    let unused = dependencies::unused(&workspace()).unwrap();
    assert!(unused.is_empty(), "{}", unused.join("\n"));
}

#[test]
fn dependencies_md_lists_every_direct_dependency_and_no_other() {
    let text = std::fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let listed: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let workspace = workspace();
    let declared = dependencies::direct(&workspace);
    let missing: Vec<_> = declared.iter().filter(|name| !listed.contains(name)).collect();
    assert!(missing.is_empty(), "docs/dependencies.md has no row for {missing:?}: add one for each");
    let gone: Vec<_> = listed.iter().filter(|name| !declared.contains(*name)).collect();
    assert!(gone.is_empty(), "no package depends on {gone:?}: remove the rows from docs/dependencies.md");
    assert_eq!(listed.len(), declared.len(), "a dependency has two rows in docs/dependencies.md");
}

/// Checks the paths in the tables of `ARCHITECTURE.md` and `docs/code-map.md`. A path is relative to the root of the
/// workspace, to the first path of its table row, or to a folder above that first path.
#[test]
fn every_path_of_the_map_exists() {
    let read = |document: &str| std::fs::read_to_string(root().join(document)).unwrap();
    let (overview, map) = (read("ARCHITECTURE.md"), read("docs/code-map.md"));
    let overview = overview.split("## Where to look").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    for (document, text, least) in [("ARCHITECTURE.md", overview, 10), ("docs/code-map.md", map.as_str(), 50)] {
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert!(rows.len() >= least, "{document} has only {} rows of paths", rows.len());
        let missing: Vec<String> = rows.into_iter().flat_map(missing_paths).collect();
        assert!(missing.is_empty(), "{document} names files that do not exist: {missing:?}");
    }
}

/// Returns each path in a table row at which there is no file or folder.
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

/// With jitter entropy, the first handshake of every process takes 80 ms of processor time. docs/design/transport.md
/// has the measurement.
#[test]
fn aws_lc_is_built_without_jitter_entropy() {
    assert_eq!(
        option_env!("AWS_LC_SYS_NO_JITTER_ENTROPY"),
        Some("1"),
        "the [env] of .cargo/config.toml is not in effect"
    );
}
