//! What Cargo says of a workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::error::LayersError;

/// The packages of a Cargo workspace, and everything they pull in.
#[derive(Debug)]
pub struct Workspace {
    /// The folder with the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// The workspace's own packages, by name.
    pub packages: BTreeMap<String, Package>,
    names: BTreeMap<String, String>,
    normal: BTreeMap<String, BTreeSet<String>>,
}

/// One package of the workspace.
#[derive(Debug, Clone, Deserialize)]
pub struct Package {
    id: String,
    /// The package's name.
    pub name: String,
    /// The dependencies that its `Cargo.toml` declares, optional ones included.
    pub dependencies: Vec<Dependency>,
    /// Its library, binaries, tests, examples and benches.
    pub targets: Vec<Target>,
}

/// A dependency as a `Cargo.toml` declares it.
#[derive(Debug, Clone, Deserialize)]
pub struct Dependency {
    /// The name of the package depended on.
    pub name: String,
    /// The name it has in the code, if that is another.
    pub rename: Option<String>,
    /// What it is needed for.
    #[serde(default, deserialize_with = "kind")]
    pub kind: DependencyKind,
}

/// What a dependency is needed for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DependencyKind {
    /// Compiled into the package.
    #[default]
    Normal,
    /// For tests, examples and benches.
    Dev,
    /// For the build script.
    Build,
}

impl DependencyKind {
    /// The section of a `Cargo.toml` that declares dependencies of this kind.
    pub fn section(self) -> &'static str {
        match self {
            Self::Normal => "dependencies",
            Self::Dev => "dev-dependencies",
            Self::Build => "build-dependencies",
        }
    }
}

/// One crate of a package.
#[derive(Debug, Clone, Deserialize)]
pub struct Target {
    /// The target's name.
    pub name: String,
    /// `lib`, `bin`, `test`, `example`, `bench` or `custom-build`.
    pub kind: Vec<String>,
    /// The crate's root file.
    pub src_path: PathBuf,
}

impl Workspace {
    /// Asks Cargo about the workspace whose `Cargo.toml` is in `root`. Needs no network if
    /// the workspace has been built on this machine.
    ///
    /// # Errors
    ///
    /// If `cargo metadata` cannot be run, fails, or prints what this version does not understand.
    pub fn load(root: &Path) -> Result<Self, LayersError> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            // Without a platform, Cargo wants the sources of dependencies of all platforms.
            .args(["metadata", "--offline", "--format-version", "1", "--filter-platform", "host-tuple"])
            .arg("--manifest-path")
            .arg(root.join("Cargo.toml"))
            .output()
            .map_err(LayersError::Cargo)?;
        if !output.status.success() {
            return Err(LayersError::Metadata(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(Self::from_metadata(serde_json::from_slice(&output.stdout)?))
    }

    fn from_metadata(metadata: Metadata) -> Self {
        let members: BTreeSet<String> = metadata.workspace_members.into_iter().collect();
        let names = metadata.packages.iter().map(|package| (package.id.clone(), package.name.clone())).collect();
        let own = metadata.packages.into_iter().filter(|package| members.contains(&package.id));
        let packages = own.map(|package| (package.name.clone(), package)).collect();
        let normal = metadata.resolve.nodes.into_iter().map(|node| (node.id, normal_ends(node.deps))).collect();
        Self { root: metadata.workspace_root, packages, names, normal }
    }

    /// Every package in the tree of `package`'s normal dependencies, with the chain of packages that leads to it.
    /// Features are those of the whole workspace.
    pub fn normal_tree(&self, package: &Package) -> BTreeMap<String, Vec<String>> {
        let mut chains = BTreeMap::new();
        let mut ahead = vec![(package.id.as_str(), vec![package.name.clone()])];
        while let Some((id, chain)) = ahead.pop() {
            for end in self.normal.get(id).into_iter().flatten() {
                let name = &self.names[end];
                if !chains.contains_key(name) {
                    let chain: Vec<String> = chain.iter().chain([name]).cloned().collect();
                    chains.insert(name.clone(), chain.clone());
                    ahead.push((end, chain));
                }
            }
        }
        chains
    }
}

fn normal_ends(deps: Vec<NodeDep>) -> BTreeSet<String> {
    let is_normal = |dep: &NodeDep| dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
    deps.into_iter().filter(is_normal).map(|dep| dep.pkg).collect()
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    workspace_root: PathBuf,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<NodeDep>,
}

#[derive(Deserialize)]
struct NodeDep {
    pkg: String,
    dep_kinds: Vec<DepKind>,
}

#[derive(Deserialize)]
struct DepKind {
    #[serde(default, deserialize_with = "kind")]
    kind: DependencyKind,
}

/// Cargo writes a normal dependency's kind as null.
fn kind<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<DependencyKind, D::Error> {
    match Option::<String>::deserialize(deserializer)?.as_deref() {
        None => Ok(DependencyKind::Normal),
        Some("dev") => Ok(DependencyKind::Dev),
        Some("build") => Ok(DependencyKind::Build),
        Some(other) => Err(serde::de::Error::unknown_variant(other, &["dev", "build"])),
    }
}
