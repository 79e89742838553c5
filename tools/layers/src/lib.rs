//! Checks the direction of dependencies in a Cargo workspace.
//!
//! - [`packages`]: no circle between packages (dev- and build-dependencies included), a table of which package may use
//!   which, and a list of packages that must not be in a dependency tree.
//! - [`files`]: no circle between the files of one crate. An arrow leads from file A to file B if A names an item that B
//!   defines.
//! - [`dependencies`]: no dependency that the code does not name.
//!
//! The tests of this package apply all of it to the workspace it is part of.

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

pub use arrows::{Arrows, Circle};
pub use error::LayersError;
pub use workspace::{Dependency, DependencyKind, Package, Target, Workspace};
