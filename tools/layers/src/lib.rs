//! Checks the direction of dependencies in a Cargo workspace.
//!
//! - [`packages`]: no cycle of packages (dev- and build-dependencies included), no dependency that the table of layers
//!   does not permit, and no banned package in the dependency tree of a package.
//! - [`files`]: no cycle of files in one crate. An arrow leads from one file to another if the first file names an item
//!   that the second file defines.
//! - [`dependencies`]: no dependency that the code does not name.
//!
//! The tests of this package apply all of these rules to this workspace.

mod arrows;
pub mod dependencies;
mod doc_examples;
mod error;
pub mod files;
mod module_tree;
mod names;
pub mod packages;
mod resolve;
mod workspace;

pub use arrows::{Arrows, Cycle};
pub use error::LayersError;
pub use workspace::{Dependency, DependencyKind, Package, Target, Workspace};
