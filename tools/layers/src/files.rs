//! Which file of a crate needs which.

use std::collections::BTreeMap;
use std::path::Path;

use crate::arrows::{Arrows, Circle};
use crate::error::LayersError;
use crate::module_tree::{ModuleId, ModuleTree, Tests};
use crate::resolve::{Named, resolve};
use crate::workspace::Workspace;

/// Circles within each crate of the workspace: libraries, binaries, tests, examples, benches.
///
/// # Errors
///
/// If a source file cannot be read or parsed.
pub fn circles(workspace: &Workspace) -> Result<Vec<Circle>, LayersError> {
    let mut found = Vec::new();
    for target in workspace.packages.values().flat_map(|package| &package.targets) {
        for circle in CrateArrows::read(&target.src_path, &workspace.root)?.circles() {
            // Several tests may share files.
            if !found.contains(&circle) {
                found.push(circle);
            }
        }
    }
    Ok(found)
}

/// Who names what in one crate. Code under `#[cfg(test)]` is left out.
///
/// A module that re-exports an item gets no arrow by that, and neither does a file that names the item through the
/// re-export: its arrow leads to the definition. A call of a method names no item: it is no arrow to the file of the `impl`.
#[derive(Debug, Default)]
pub struct CrateArrows {
    /// From file to file: the first names an item that the second defines.
    pub files: Arrows,
    /// For each parent: from one of its modules to another, each with all that is below it.
    modules: BTreeMap<ModuleId, Arrows>,
}

impl CrateArrows {
    /// Reads the crate whose root file is `root`. Its files are named by their path below `base`.
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

    /// Circles of files, and circles of modules of one parent: `import` and `store` are one if a file below `store` names
    /// what `import` defines and the other way round, even if no two files do. A circle of modules whose own files are a
    /// circle is not told twice.
    pub fn circles(&self) -> Vec<Circle> {
        let files = self.files.circles();
        let is_explained = |modules: &Circle| files.iter().any(|files| files.members.is_superset(&modules.members));
        let modules = self.modules.values().flat_map(Arrows::circles).filter(|circle| !is_explained(circle));
        let modules: Vec<Circle> = modules.collect();
        files.into_iter().chain(modules).collect()
    }
}
