//! Checks which of the declared dependencies the code uses.

use std::collections::BTreeSet;

use crate::error::LayersError;
use crate::module_tree::{ModuleTree, Tests};
use crate::workspace::{Dependency, DependencyKind, Package, Workspace};

/// Returns the packages from outside the workspace that packages of the workspace declare as dependencies.
pub fn direct(workspace: &Workspace) -> BTreeSet<&str> {
    let declared = workspace.packages.values().flat_map(|package| &package.dependencies);
    declared.map(|dependency| dependency.name.as_str()).filter(|name| !workspace.packages.contains_key(*name)).collect()
}

/// Returns one message for each dependency that the code of its package does not name. A dependency in `[dependencies]`
/// must be named by the library or a binary, outside of tests. One in `[build-dependencies]` must be named by the build
/// script. One in `[dev-dependencies]` may be named by any target.
///
/// # Errors
///
/// If a source file cannot be read or parsed.
pub fn unused(workspace: &Workspace) -> Result<Vec<String>, LayersError> {
    let mut found = Vec::new();
    for package in workspace.packages.values() {
        for kind in [DependencyKind::Normal, DependencyKind::Dev, DependencyKind::Build] {
            let mut declared = package.dependencies.iter().filter(|dependency| dependency.kind == kind).peekable();
            if declared.peek().is_some() {
                let named = first_segments(package, kind)?;
                let unused = declared.filter(|dependency| !named.contains(&name_in_code(dependency)));
                found.extend(unused.map(|dependency| message(package, dependency)));
            }
        }
    }
    Ok(found)
}

fn message(package: &Package, dependency: &Dependency) -> String {
    format!(
        "{} does not use {}, which is in [{}] of its Cargo.toml: remove it, or move it to the section of the code that \
         uses it",
        package.name,
        dependency.name,
        dependency.kind.section()
    )
}

/// Returns the name by which the code refers to a dependency.
fn name_in_code(dependency: &Dependency) -> String {
    dependency.rename.as_ref().unwrap_or(&dependency.name).replace('-', "_")
}

/// Returns the first segment of every path in the code that may use dependencies of this kind. The first segment of a
/// path to an item of a dependency is the name of the dependency.
fn first_segments(package: &Package, kind: DependencyKind) -> Result<BTreeSet<String>, LayersError> {
    let mut found = BTreeSet::new();
    for target in &package.targets {
        let is = |kind: &str| target.kind.iter().any(|own| own == kind);
        let (is_read, tests) = match kind {
            DependencyKind::Normal => (is("lib") || is("bin"), Tests::LeftOut),
            DependencyKind::Dev => (true, Tests::Read),
            DependencyKind::Build => (is("custom-build"), Tests::LeftOut),
        };
        if is_read {
            let tree = ModuleTree::read(&target.src_path, tests)?;
            let imported = tree.iter().flat_map(|(_, module)| module.imports.iter().map(|import| &import.path));
            let mentioned = tree.iter().flat_map(|(_, module)| &module.paths);
            found.extend(imported.chain(mentioned).filter_map(|path| path.first().cloned()));
        }
    }
    Ok(found)
}
