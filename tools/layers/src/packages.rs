//! Checks the dependencies between packages against the table of layers.

use crate::arrows::{Arrows, Cycle};
use crate::workspace::{DependencyKind, Package, Workspace};

/// A row of the table of layers: the permitted dependencies of one package.
#[derive(Debug, Clone, Copy)]
pub struct Layer {
    /// The name of the package.
    pub package: &'static str,
    /// The packages of the workspace that this package may depend on.
    pub uses: &'static [&'static str],
    /// Further packages of the workspace that this package may have as dev-dependencies.
    pub tests_use: &'static [&'static str],
    /// The packages, inside or outside the workspace, that must not be in the tree of this package's normal
    /// dependencies.
    pub never_pulls: &'static [&'static str],
}

/// Returns the cycles of dependencies between packages of the workspace. Dev- and build-dependencies count as well.
pub fn cycles(workspace: &Workspace) -> Vec<Cycle> {
    let mut arrows = Arrows::default();
    for package in workspace.packages.values() {
        for (name, kind) in own_dependencies(workspace, package) {
            arrows.add(&package.name, name, kind.section());
        }
    }
    arrows.cycles()
}

/// Returns one message for each violation of the rules in `layers`. Each message names the next step.
pub fn violations(workspace: &Workspace, layers: &[Layer]) -> Vec<String> {
    let mut found = Vec::new();
    for package in workspace.packages.values() {
        let Some(layer) = layers.iter().find(|layer| layer.package == package.name) else {
            found.push(format!(
                "{} has no layer: add it to the table of layers, with the packages that it may use",
                package.name
            ));
            continue;
        };
        found.extend(wrong_directions(workspace, package, layer));
        found.extend(pulled(workspace, package, layer));
    }
    let gone = layers.iter().filter(|layer| !workspace.packages.contains_key(layer.package));
    found.extend(
        gone.map(|layer| format!("{} is not in the workspace: remove it from the table of layers", layer.package)),
    );
    found
}

fn wrong_directions<'a>(
    workspace: &'a Workspace,
    package: &'a Package,
    layer: &'a Layer,
) -> impl Iterator<Item = String> + 'a {
    let allowed = |name: &str, kind| {
        layer.uses.contains(&name) || (kind == DependencyKind::Dev && layer.tests_use.contains(&name))
    };
    own_dependencies(workspace, package).filter(move |&(name, kind)| !allowed(name, kind)).map(|(name, kind)| {
        format!(
            "{} must not depend on {name} ([{}] in its Cargo.toml): move the shared code into a package below both, or \
             change the table of layers if this direction is intended",
            package.name,
            kind.section()
        )
    })
}

fn pulled(workspace: &Workspace, package: &Package, layer: &Layer) -> Vec<String> {
    let chains = workspace.normal_tree(package);
    let banned = layer.never_pulls.iter().filter_map(|&name| chains.get(name).map(|chain| (name, chain)));
    banned
        .map(|(name, chain)| {
            format!(
                "{} must not depend on {name}, but does through {}: switch the feature off, or move the code that \
                 needs it into a package above",
                package.name,
                chain.join(" -> ")
            )
        })
        .collect()
}

fn own_dependencies<'a>(
    workspace: &'a Workspace,
    package: &'a Package,
) -> impl Iterator<Item = (&'a str, DependencyKind)> {
    let own = package.dependencies.iter().filter(|dependency| workspace.packages.contains_key(&dependency.name));
    own.map(|dependency| (dependency.name.as_str(), dependency.kind))
}
