//! Finds the dependencies between the files of a crate, and their cycles.

use std::collections::BTreeMap;
use std::path::Path;

use crate::arrows::{Arrows, Cycle};
use crate::error::LayersError;
use crate::module_tree::{ModuleId, ModuleTree, Tests};
use crate::resolve::{Named, resolve};
use crate::workspace::Workspace;

/// Returns the cycles of files and of modules in every crate of the workspace: in libraries, binaries, tests, examples
/// and benches.
///
/// # Errors
///
/// If a source file cannot be read or parsed.
pub fn cycles(workspace: &Workspace) -> Result<Vec<Cycle>, LayersError> {
    let mut found = Vec::new();
    for target in workspace.packages.values().flat_map(|package| &package.targets) {
        for cycle in CrateArrows::read(&target.src_path, &workspace.root)?.cycles() {
            // Several test crates may share files, so the same cycle may be found more than once.
            if !found.contains(&cycle) {
                found.push(cycle);
            }
        }
    }
    Ok(found)
}

/// The dependencies between the files of one crate, and between its modules. Code under `#[cfg(test)]` is left out.
///
/// A re-export adds no arrow. A file that names an item through a re-export gets an arrow to the file with the
/// definition, not to the file with the re-export. A method call names no item, so it adds no arrow to the file of the
/// `impl`.
#[derive(Debug, Default)]
pub struct CrateArrows {
    /// Arrows between files: the first file names an item that the second file defines.
    pub files: Arrows,
    /// For each parent module, the arrows between its child modules. An arrow of a child module stands for the child
    /// and all modules below it.
    modules: BTreeMap<ModuleId, Arrows>,
}

impl CrateArrows {
    /// Reads the crate whose root file is `root`. The name of a file in the result is its path relative to `base`.
    ///
    /// # Errors
    ///
    /// If a source file cannot be read or parsed.
    pub fn read(root: &Path, base: &Path) -> Result<Self, LayersError> {
        let tree = ModuleTree::read(root, Tests::LeftOut)?;
        let mut arrows = Self::default();
        for (from, module) in tree.iter() {
            let used = module.imports.iter().filter(|import| import.name.is_some() && !import.is_reexport);
            for path in used.map(|import| &import.path).chain(&module.paths) {
                if let Named::Item { module: to, name } = resolve(&tree, from, path)
                    && tree.get(to).file != module.file
                {
                    arrows.add(&tree, base, (from, to), &name);
                }
            }
        }
        Ok(arrows)
    }

    fn add(&mut self, tree: &ModuleTree, base: &Path, (from, to): (ModuleId, ModuleId), name: &str) {
        let file = |id| {
            let file = &tree.get(id).file;
            file.strip_prefix(base).unwrap_or(file).display().to_string()
        };
        self.files.add(&file(from), &file(to), name);
        if let Some((from, to)) = tree.siblings(from, to)
            && let Some(parent) = tree.get(from).parent
        {
            self.modules.entry(parent).or_default().add(&file(from), &file(to), name);
        }
    }

    /// Returns the cycles of files, and the cycles of modules that have the same parent. For example, the modules
    /// `import` and `store` are a cycle if one file of `store` names an item of `import`, and `import` names an item
    /// from another file of `store`. A cycle of modules is left out if a cycle of files includes the files of these
    /// modules.
    pub fn cycles(&self) -> Vec<Cycle> {
        let files = self.files.cycles();
        let is_explained = |modules: &Cycle| files.iter().any(|files| files.members.is_superset(&modules.members));
        let modules = self.modules.values().flat_map(Arrows::cycles).filter(|cycle| !is_explained(cycle));
        let modules: Vec<Cycle> = modules.collect();
        files.into_iter().chain(modules).collect()
    }
}
