//! Which module defines what a path names.

use std::collections::BTreeSet;

use crate::module_tree::{ModuleId, ModuleTree};

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// A module as a whole.
    Module(ModuleId),
    /// An item of this crate.
    Item {
        /// The module that defines it.
        module: ModuleId,
        /// Its name where it is defined.
        name: String,
    },
    /// Something of another crate, or of the language.
    Foreign,
}

/// What the path `path` names in the module `from`. Re-exports are followed to the definition.
pub(crate) fn resolve(tree: &ModuleTree, from: ModuleId, path: &[String]) -> Named {
    Resolver { tree, seen: BTreeSet::new() }.path(from, path, Wanted::Any).unwrap_or(Named::Foreign)
}

/// Modules and functions may have the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    /// A module first: something follows in the path.
    Prefix,
    /// An item first.
    Any,
}

struct Resolver<'a> {
    tree: &'a ModuleTree,
    /// Names already looked up: imports may lead in a circle (`pub use child::*` here, `use super::*` there).
    seen: BTreeSet<(ModuleId, String, Wanted)>,
}

impl Resolver<'_> {
    /// `None` if this crate has nothing of that name.
    fn path(&mut self, from: ModuleId, path: &[String], wanted: Wanted) -> Option<Named> {
        let (first, rest) = path.split_first()?;
        let mut named = match first.as_str() {
            "crate" => Named::Module(ModuleTree::ROOT),
            "self" => Named::Module(from),
            "super" => Named::Module(self.tree.get(from).parent?),
            name => self.name(from, name, if rest.is_empty() { wanted } else { Wanted::Prefix })?,
        };
        for (position, segment) in rest.iter().enumerate() {
            // What follows an item is a variant or a method.
            let Named::Module(module) = named else { return Some(named) };
            let wanted = if position + 1 == rest.len() { wanted } else { Wanted::Prefix };
            named = match segment.as_str() {
                "super" => Named::Module(self.tree.get(module).parent?),
                // A macro must have made it.
                name => self.name(module, name, wanted).unwrap_or_else(|| item(module, name)),
            };
        }
        Some(named)
    }

    /// What `name` stands for in `module`.
    fn name(&mut self, module: ModuleId, name: &str, wanted: Wanted) -> Option<Named> {
        if !self.seen.insert((module, name.to_owned(), wanted)) {
            return None;
        }
        let here = self.tree.get(module);
        let child = here.children.get(name).map(|&child| Named::Module(child));
        let item = here.items.contains(name).then(|| item(module, name));
        let defined = if wanted == Wanted::Prefix { child.or(item) } else { item.or(child) };
        defined.or_else(|| self.imported(module, name, wanted)).or_else(|| self.through_globs(module, name, wanted))
    }

    fn imported(&mut self, module: ModuleId, name: &str, wanted: Wanted) -> Option<Named> {
        let mut found = None;
        for import in &self.tree.get(module).imports {
            if import.name.as_deref() == Some(name) {
                // What leads out of this crate is foreign, not unknown.
                found = self.path(module, &import.path, wanted).or(Some(Named::Foreign));
            }
            if !matches!(found, None | Some(Named::Foreign)) {
                break;
            }
        }
        found
    }

    fn through_globs(&mut self, module: ModuleId, name: &str, wanted: Wanted) -> Option<Named> {
        let globs = self.tree.get(module).imports.iter().filter(|import| import.name.is_none());
        globs.into_iter().find_map(|glob| match self.path(module, &glob.path, Wanted::Prefix)? {
            Named::Module(source) => self.name(source, name, wanted),
            _ => None,
        })
    }
}

fn item(module: ModuleId, name: &str) -> Named {
    Named::Item { module, name: name.to_owned() }
}
