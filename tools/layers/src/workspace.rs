//! Reads a workspace with `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::error::LayersError;

/// The packages of a Cargo workspace, and their dependency trees.
#[derive(Debug)]
pub struct Workspace {
    /// The folder with the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// The workspace's own packages, by name.
    pub packages: BTreeMap<String, Package>,
    /// For each package id, the name of the package. Packages outside the workspace are included.
    names: BTreeMap<String, String>,
    /// For each package id, the package ids of the normal dependencies of the package.
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
    /// The package's library, binaries, tests, examples and benches.
    pub targets: Vec<Target>,
}

/// A dependency as a `Cargo.toml` declares it.
#[derive(Debug, Clone, Deserialize)]
pub struct Dependency {
    /// The name of the required package.
    pub name: String,
    /// The name of the dependency in the code, if it is not the name of the package.
    pub rename: Option<String>,
    /// Which targets the dependency is for.
    #[serde(default, deserialize_with = "kind")]
    pub kind: DependencyKind,
}

/// Which targets of a package a dependency is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DependencyKind {
    /// A dependency of the library or the binaries.
    #[default]
    Normal,
    /// A dependency of tests, examples and benches.
    Dev,
    /// A dependency of the build script.
    Build,
}

impl DependencyKind {
    /// Returns the section of a `Cargo.toml` that declares dependencies of this kind.
    pub fn section(self) -> &'static str {
        match self {
            Self::Normal => "dependencies",
            Self::Dev => "dev-dependencies",
            Self::Build => "build-dependencies",
        }
    }
}

/// A target of a package, which is one crate.
#[derive(Debug, Clone, Deserialize)]
pub struct Target {
    /// The name of the target.
    pub name: String,
    /// `lib`, `bin`, `test`, `example`, `bench` or `custom-build`.
    pub kind: Vec<String>,
    /// The crate's root file.
    pub src_path: PathBuf,
}

impl Workspace {
    /// Reads the workspace whose `Cargo.toml` is in `root`. Uses no network, so Cargo must already have downloaded the
    /// dependencies, for instance in a build.
    ///
    /// # Errors
    ///
    /// If `cargo metadata` cannot be run, fails, or prints JSON that this version does not understand.
    pub fn load(root: &Path) -> Result<Self, LayersError> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            // Without a platform filter, Cargo needs the sources of the dependencies for all platforms.
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

    /// Returns every direct or indirect normal dependency of `package`, with the chain of packages that leads to it.
    /// The features are those that the whole workspace enables.
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

/// Returns the package ids of those dependencies in `deps` that are normal dependencies.
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

/// Deserialises the kind of a dependency. Cargo writes null for a normal dependency.
fn kind<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<DependencyKind, D::Error> {
    match Option::<String>::deserialize(deserializer)?.as_deref() {
        None => Ok(DependencyKind::Normal),
        Some("dev") => Ok(DependencyKind::Dev),
        Some("build") => Ok(DependencyKind::Build),
        Some(other) => Err(serde::de::Error::unknown_variant(other, &["dev", "build"])),
    }
}
