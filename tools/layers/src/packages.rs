//! Which package may depend on which.

use crate::arrows::{Arrows, Circle};
use crate::workspace::{DependencyKind, Package, Workspace};

/// What one package of the workspace may depend on.
#[derive(Debug, Clone, Copy)]
pub struct Layer {
    /// The package.
    pub package: &'static str,
    /// The workspace's packages that it may use.
    pub uses: &'static [&'static str],
    /// The workspace's packages that its tests, examples and benches may use besides.
    pub tests_use: &'static [&'static str],
    /// Packages, of the workspace or not, that must not be anywhere in the tree of its normal dependencies.
    pub never_pulls: &'static [&'static str],
}

/// Circles between packages of the workspace, dev- and build-dependencies included.
pub fn circles(workspace: &Workspace) -> Vec<Circle> {
    let mut arrows = Arrows::default();
    for package in workspace.packages.values() {
        for (name, kind) in own_dependencies(workspace, package) {
            arrows.add(&package.name, name, kind.section());
        }
    }
    arrows.circles()
}

/// What breaks the rules in `layers`, one message each, with the next step.
pub fn violations(workspace: &Workspace, layers: &[Layer]) -> Vec<String> {
    let mut found = Vec::new();
    for package in workspace.packages.values() {
        let Some(layer) = layers.iter().find(|layer| layer.package == package.name) else {
            found.push(format!("{} has no layer: add it to the table of layers, with what it may use", package.name));
            continue;
        };
        found.extend(wrong_directions(workspace, package, layer));
        found.extend(pulled(workspace, package, layer));
    }
    let gone = layers.iter().filter(|layer| !workspace.packages.contains_key(layer.package));
    found.extend(gone.map(|layer| format!("{} is not in the workspace: take it out of the table", layer.package)));
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
            "{} must not depend on {name} ([{}] in its Cargo.toml): move what it needs into a package below both, or \
             change the table of layers if the direction is meant",
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
                "{} must not pull in {name}, and does by {}: leave the feature off, or move the code up",
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
