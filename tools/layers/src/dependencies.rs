//! Which dependencies are declared, and which of them the code uses.

use std::collections::BTreeSet;

use crate::error::LayersError;
use crate::module_tree::{ModuleTree, Tests};
use crate::workspace::{Dependency, DependencyKind, Package, Workspace};

/// The packages from outside the workspace that its packages declare as dependencies.
pub fn direct(workspace: &Workspace) -> BTreeSet<&str> {
    let declared = workspace.packages.values().flat_map(|package| &package.dependencies);
    declared.map(|dependency| dependency.name.as_str()).filter(|name| !workspace.packages.contains_key(*name)).collect()
}

/// Dependencies that the code of their package does not name, one message each. The code of `[dependencies]` is libraries
/// and binaries without their tests, of `[build-dependencies]` the build script, of `[dev-dependencies]` everything.
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
        "{} does not use {}, which is in [{}] of its Cargo.toml: take it out, or move it to the section of the code that does",
        package.name,
        dependency.name,
        dependency.kind.section()
    )
}

fn name_in_code(dependency: &Dependency) -> String {
    dependency.rename.as_ref().unwrap_or(&dependency.name).replace('-', "_")
}

/// What the paths begin with in the code that a dependency of this kind is for.
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
